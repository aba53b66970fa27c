//! Text to read out of HTML: markup goes, line structure stays. One pass, no tree, no recursion, output never longer than
//! input. It is no sanitiser: what comes out is text and must be shown as text. Spec: `spec/hardening.md`, HD-138.

use alloc::string::String;

/// Elements whose content nobody reads. What they hold is passed over up to their end tag.
const SILENT: [&str; 9] = [
    "head", "iframe", "noscript", "object", "script", "style", "svg", "template", "textarea",
];
/// Elements that stand on lines of their own.
const BLOCKS: [&str; 35] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "caption",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "title",
    "tr",
    "ul",
];
/// Elements that are separated from their neighbours by a blank.
const CELLS: [&str; 3] = ["option", "td", "th"];
/// The longest name of a character reference that is looked at.
const MAX_REFERENCE: usize = 10;

/// The text of a page.
pub(super) fn text_of(html: &str) -> String {
    let mut out = Lines::default();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (before, markup) = rest.split_at(at);
        out.text(before);
        rest = after_markup(markup, &mut out);
    }
    out.text(rest);
    out.done()
}

/// Passes over what begins with `<`; returns what follows it.
fn after_markup<'a>(markup: &'a str, out: &mut Lines) -> &'a str {
    let inside = markup.get(1..).unwrap_or_default();
    if let Some(comment) = inside.strip_prefix("!--") {
        return after(comment, "-->");
    }
    let is_end = inside.starts_with('/');
    let named = inside.strip_prefix('/').unwrap_or(inside);
    let length = named.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(named.len());
    let name = named.get(..length).unwrap_or_default();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        // `<!doctype`, `<?xml` and `</>` are markup; a `<` before anything else is a character.
        if inside.starts_with(['!', '?', '/']) {
            return after(inside, ">");
        }
        out.text("<");
        return inside;
    }
    let name = name.to_ascii_lowercase();
    let rest = after_tag(named.get(length..).unwrap_or_default());
    if BLOCKS.contains(&name.as_str()) {
        out.line();
    } else if CELLS.contains(&name.as_str()) {
        out.blank();
    }
    if !is_end && SILENT.contains(&name.as_str()) {
        return after_element(rest, &name);
    }
    rest
}

/// What follows the first `end`; nothing when there is none.
fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// What follows the `>` of a tag; one in quotes does not end it.
fn after_tag(text: &str) -> &str {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return text.get(at + 1..).unwrap_or_default(),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    ""
}

/// What follows the end tag of a silent element; its content may hold anything but that.
fn after_element<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some((_, tag)) = rest.split_once("</") {
        let is_it = tag
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name));
        if is_it
            && !tag
                .get(name.len()..)
                .unwrap_or_default()
                .starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            return after(tag, ">");
        }
        rest = tag;
    }
    ""
}

/// The output: runs of white space are one blank, lines are not blank and have none at their ends.
#[derive(Default)]
struct Lines {
    out: String,
    gap: Gap,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Gap {
    #[default]
    None,
    Blank,
    Line,
}

impl Lines {
    fn text(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let (c, length) = match c {
                '&' => reference(rest),
                c => (c, c.len_utf8()),
            };
            rest = rest.get(length..).unwrap_or_default();
            if c.is_whitespace() {
                self.blank();
            } else if !c.is_control() {
                self.put(c);
            }
        }
    }

    fn put(&mut self, c: char) {
        if !self.out.is_empty() {
            match self.gap {
                Gap::None => {}
                Gap::Blank => self.out.push(' '),
                Gap::Line => self.out.push('\n'),
            }
        }
        self.gap = Gap::None;
        self.out.push(c);
    }

    fn blank(&mut self) {
        self.gap = self.gap.max(Gap::Blank);
    }

    fn line(&mut self) {
        self.gap = Gap::Line;
    }

    fn done(self) -> String {
        self.out
    }
}

/// The character that a text beginning with `&` stands for, and how many bytes say so.
fn reference(text: &str) -> (char, usize) {
    let literal = ('&', 1);
    let bytes = text.as_bytes();
    let Some(end) = bytes.iter().take(MAX_REFERENCE + 2).position(|byte| *byte == b';') else {
        return literal;
    };
    let Some(name) = text.get(1..end) else {
        return literal;
    };
    let number = name
        .strip_prefix('#')
        .map(|digits| match digits.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => digits.parse(),
        });
    let c = match (number, name) {
        (Some(number), _) => number
            .ok()
            .and_then(char::from_u32)
            .unwrap_or(char::REPLACEMENT_CHARACTER),
        (None, "amp") => '&',
        (None, "lt") => '<',
        (None, "gt") => '>',
        (None, "quot") => '"',
        (None, "apos") => '\'',
        (None, "nbsp") => ' ',
        (None, "ndash") => '\u{2013}',
        (None, "mdash") => '\u{2014}',
        (None, "hellip") => '\u{2026}',
        (None, "lsquo") => '\u{2018}',
        (None, "rsquo") => '\u{2019}',
        (None, "ldquo") => '\u{201c}',
        (None, "rdquo") => '\u{201d}',
        (None, "copy") => '\u{a9}',
        (None, "euro") => '\u{20ac}',
        _ => return literal,
    };
    (c, end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_goes_and_lines_stay() {
        for (html, text) in [
            ("plain", "plain"),
            ("<!doctype html><html><head><title>T</title></head><body>a</body>", "a"),
            ("<h1>A</h1><p>b <b>c</b>\n d</p><p>e<br/>f", "A\nb c d\ne\nf"),
            ("<table><tr><td>1<td>2</tr><tr><td>3", "1 2\n3"),
            ("a<script>if (a</b) '<p>'</script >b", "ab"),
            ("a<STYLE>x</style>b<style>never ended", "ab"),
            ("a<!-- <p> -- > -->b<!-- never ended", "ab"),
            (r#"<a title="x>y" href='>'>z</a>"#, "z"),
            ("1 < 2 && 3 <4", "1 < 2 && 3 <4"),
            (
                "&lt;p&gt; &amp;amp; &#65;&#x42;&#xD800;&nope;&",
                "<p> &amp; AB\u{fffd}&nope;&",
            ),
            ("a&nbsp;&nbsp;b\u{0}c", "a bc"),
            ("<p", ""),
            ("<", "<"),
            ("</", ""),
            ("\u{e4}<\u{e4}>", "\u{e4}<\u{e4}>"),
        ] {
            assert_eq!(text_of(html), text, "{html}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_no_longer_one_without_edges(html in "(<|>|/|!|-|&|;|#|'|\"|p|script|style|[a-z\u{e4} \n]){0,60}") {
            let text = text_of(&html);
            prop_assert!(text.len() <= html.len() + 2 * html.matches('&').count());
            prop_assert_eq!(text.trim(), &text);
        }
    }
}
