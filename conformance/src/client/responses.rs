//! An HTTP/1.1 client's view of responses, written for this suite alone: reads one response off the front of a buffer.

/// A response as it came.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, values trimmed, in order.
    pub headers: Vec<(String, String)>,
    /// The body with its transfer coding taken off.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the only header of this name; several of one name are joined with `, `.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .headers
            .iter()
            .filter(|header| header.0 == name)
            .map(|header| &*header.1)
            .collect();
        if values.is_empty() {
            None
        } else {
            Some(values.join(", "))
        }
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            write!(f, " | {name}: {value}")?;
        }
        write!(f, " | {}", String::from_utf8_lossy(&self.body))
    }
}

/// Takes one response off the front of `buffer`, if it is all there. `bodiless`: it answers HEAD.
/// `ended`: nothing further will come, so that a body without a length is complete.
///
/// # Errors
/// Says what is wrong with the response.
pub fn next(buffer: &mut Vec<u8>, bodiless: bool, ended: bool) -> Result<Option<Response>, String> {
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = buffer.get(..end).unwrap_or_default();
    let mut response = parse_head(str::from_utf8(head).map_err(|_| "the response head is not UTF-8")?)?;
    let rest = buffer.get(end + 4..).unwrap_or_default();
    let no_body = bodiless || response.status < 200 || matches!(response.status, 204 | 304);
    let used = if no_body {
        Some(0)
    } else if response
        .header("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        dechunk(rest, &mut response.body)?
    } else if let Some(length) = response.header("content-length") {
        let length = length
            .parse::<usize>()
            .map_err(|_| format!("Content-Length is {length:?}"))?;
        response.body = rest.get(..length).unwrap_or_default().to_vec();
        (rest.len() >= length).then_some(length)
    } else {
        response.body = rest.to_vec();
        ended.then_some(rest.len())
    };
    Ok(used.map(|used| {
        buffer.drain(..end + 4 + used);
        response
    }))
}

fn parse_head(head: &str) -> Result<Response, String> {
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("this is no status line: {status_line:?}"))?;
    let headers = lines.map(|line| match line.split_once(':') {
        Some((name, value)) => Ok((name.to_ascii_lowercase(), value.trim().to_owned())),
        None => Err(format!("this is no header line: {line:?}")),
    });
    Ok(Response {
        status,
        headers: headers.collect::<Result<_, _>>()?,
        body: Vec::new(),
    })
}

/// Reads chunks into `body`; how many bytes they took, when the last one is there.
fn dechunk(bytes: &[u8], body: &mut Vec<u8>) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(line) = rest.windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let digits = str::from_utf8(rest.get(..line).unwrap_or_default()).unwrap_or("?");
        let size = usize::from_str_radix(digits, 16).map_err(|_| format!("this is no chunk size: {digits:?}"))?;
        let Some(chunk) = rest.get(line + 2..line + 2 + size + 2) else {
            return Ok(None);
        };
        let Some(data) = chunk.strip_suffix(b"\r\n") else {
            return Err("a chunk does not end where its size says".into());
        };
        body.extend(data);
        at += line + 2 + size + 2;
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_framing() {
        let mut buffer =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
            3\r\nabc\r\n0\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n\x81"
                .to_vec();
        assert_eq!(next(&mut buffer, false, false).unwrap().unwrap().body, b"ok");
        assert_eq!(next(&mut buffer, false, false).unwrap().unwrap().body, b"abc");
        assert_eq!(next(&mut buffer, false, false).unwrap().unwrap().status, 101);
        assert_eq!(buffer, [0x81]);
    }
}
