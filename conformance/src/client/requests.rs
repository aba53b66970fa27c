//! A server's view of HTTP/1.1 requests, written for this suite alone: reads one request off the front of a buffer, and
//! refuses what a client must not send.

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// GET and so on.
    pub method: String,
    /// The target.
    pub target: String,
    /// Names in lower case, values trimmed, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The values of this name, joined with `, `.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let named = self.headers.iter().filter(|header| header.0 == name);
        let values: Vec<_> = named.map(|header| &*header.1).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.target)?;
        for (name, value) in &self.headers {
            write!(f, " | {name}: {value}")?;
        }
        write!(f, " | {}", String::from_utf8_lossy(&self.body))
    }
}

/// Takes one request off the front of `buffer`, if it is all there.
///
/// # Errors
/// Says which rule of HTTP the client broke.
pub fn next(buffer: &mut Vec<u8>) -> Result<Option<Request>, String> {
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = buffer.get(..end).unwrap_or_default();
    let mut request = parse_head(str::from_utf8(head).map_err(|_| "the request head is not UTF-8")?)?;
    if request.headers.iter().filter(|header| header.0 == "host").count() != 1 {
        return Err(format!("a request must have one Host: {request}"));
    }
    if request.header("transfer-encoding").is_some() {
        return Err(format!("a body whose length is known is sent with it: {request}"));
    }
    let length = match request.header("content-length") {
        Some(length) => length
            .parse::<usize>()
            .map_err(|_| format!("Content-Length is {length:?}"))?,
        None => 0,
    };
    let Some(body) = buffer.get(end + 4..end + 4 + length) else {
        return Ok(None);
    };
    request.body = body.to_vec();
    buffer.drain(..end + 4 + length);
    Ok(Some(request))
}

fn parse_head(head: &str) -> Result<Request, String> {
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("this is no request line: {line:?}"));
    };
    let headers = lines.map(|line| match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && !name.contains(' ') => {
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err(format!("this is no header line: {line:?}")),
    });
    Ok(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers.collect::<Result<_, _>>()?,
        body: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_one_by_one() {
        let mut buffer = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nokGET".to_vec();
        let request = next(&mut buffer).unwrap().unwrap();
        assert_eq!(
            (
                request.method.as_str(),
                request.target.as_str(),
                request.body.as_slice()
            ),
            ("POST", "/a", &b"ok"[..])
        );
        assert_eq!(buffer, b"GET");
        assert!(next(&mut buffer).unwrap().is_none());
    }

    #[test]
    fn what_a_client_must_not_send_is_refused() {
        for wrong in [
            "GET / HTTP/1.0\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            assert!(next(&mut wrong.as_bytes().to_vec()).is_err(), "{wrong}");
        }
    }
}
