"""Turns the Autobahn test suite's sources, which are Python 2, into a Python 3 package: 2to3, then the changes below.

A source is read as Latin-1: every byte of a string literal becomes one character, which is what `latin1.py` builds on.
Only the parts that the fuzzing client needs are converted. Usage: convert.py UNPACKED_SDIST TARGET_DIRECTORY
"""

import pathlib
import re
import sys

from fissix.refactor import RefactoringTool, get_fixers_from_package

# A case that never runs, on interfaces that zope has dropped; and compression, which our servers decline.
LEFT_OUT = ("case9_9_1", "case12_x_x")

# (file or None for each, pattern, replacement): a pattern with a file must match, so that a new release is noticed.
CHANGES = [
    (None, r"\bbinascii\.b2a_hex\(", "latin1.b2a_hex("),
    # Classic classes are gone: `object` may not come before them.
    (None, r"\(object, Case, ?\)", "(Case,)"),
    # Only TLS and the suite's own web server need these, and they need further packages.
    ("fuzzing.py", r", pkg_resources$", ""),
    ("fuzzing.py", r"reactor, ssl$", "reactor"),
    ("fuzzing.py", r"ssl\.ClientContextFactory\(\)", "None"),
    # The library has its own logging now.
    ("fuzzing.py", r"__init__\(self, debug = debug, debugCodePaths = debug\)", "__init__(self)"),
    # Reports are text files.
    ("fuzzing.py", r"""\.encode\(['"]utf-?8['"]\)\)""", ")"),
    # Of the reports only the style sheets; the rest is for another protocol.
    ("report.py", r"^REPORT_DIR_PERMISSIONS(.|\n)*", ""),
    ("report.py", r"^import jinja2$", ""),
    ("case/__init__.py", rf"^from \.({'|'.join(LEFT_OUT)}) import \*$", ""),
    ("case/__init__.py", r"^.*Case1[23]_X_X.*$", ""),
    # What 2to3 cannot know: a division of integers, and where bytes are wanted.
    ("case/case10_1_1.py", r"\) / self", ") // self"),
    ("case/case6_x_x.py", r"v\.validate\(vss\[:i\]\)", "v.validate(latin1.raw(vss[:i]))"),
]


def convert(source, name, tool):
    text = source.read_bytes().decode("latin-1").replace("\r\n", "\n")
    # 2to3 looks beside the file which imports are the package's own, so it is told the whole path.
    text = str(tool.refactor_string(text + "\n", str(source)))
    for file, pattern, replacement in CHANGES:
        if file in (None, name):
            text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            if file and not count:
                sys.exit(f"convert.py: {name}: nothing matches {pattern!r}; is this another release of the suite?")
    return "import latin1\n" + text


def main(sdist, target):
    origin = pathlib.Path(sdist) / "autobahntestsuite"
    target = pathlib.Path(target) / "autobahntestsuite"
    (target / "case").mkdir(parents=True, exist_ok=True)
    version = re.search(r'^__version__ = "(.*)"$', (origin / "_version.py").read_text(), re.MULTILINE).group(1)
    (target / "__init__.py").write_text(f'version = "{version}"\n')
    tool = RefactoringTool(get_fixers_from_package("fissix.fixes"))
    sources = [origin / name for name in ("fuzzing.py", "caseset.py", "report.py")]
    sources += sorted(path for path in (origin / "case").glob("*.py") if path.stem not in LEFT_OUT)
    for source in sources:
        name = source.relative_to(origin).as_posix()
        (target / name).write_text(convert(source, name, tool), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
