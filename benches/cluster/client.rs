//! One connection to a server: as much of HTTP/1.1 as the servers here speak, and nothing that
//! costs the load generator time.

use std::{net::SocketAddr, str};

use bytes::BytesMut;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::BoxError;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: BytesMut,
}

#[derive(Debug)]
pub(crate) struct Answer<'a> {
    head: &'a str,
    pub(crate) body: &'a str,
}

impl Connection {
    pub(crate) async fn open(server: SocketAddr) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request: Vec::new(),
            answer: BytesMut::new(),
        })
    }

    /// Asks for a page with the cookie, `name=value` or nothing. Anything but status 200 is an
    /// error.
    pub(crate) async fn get(&mut self, path: &str, cookie: &str) -> Result<Answer<'_>, BoxError> {
        self.request.clear();
        for part in ["GET ", path, " HTTP/1.1\r\nhost: bench\r\n"] {
            self.request.extend_from_slice(part.as_bytes());
        }
        if !cookie.is_empty() {
            for part in ["cookie: ", cookie, "\r\n"] {
                self.request.extend_from_slice(part.as_bytes());
            }
        }
        self.request.extend_from_slice(b"\r\n");
        self.stream.write_all(&self.request).await?;

        self.answer.clear();
        let (head, whole) = loop {
            self.answer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(format!("{path}: the server closed the connection").into());
            }
            if let Some(head) = find_end(&self.answer) {
                let text = str::from_utf8(&self.answer[..head])?;
                let body = field(text, "content-length").ok_or("an answer without a length")?;
                break (head, head + body.parse::<usize>()?);
            }
        };
        while self.answer.len() < whole {
            self.answer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(format!("{path}: the answer is cut off").into());
            }
        }
        let (head, body) = str::from_utf8(&self.answer[..whole])?.split_at(head);
        if !head.starts_with("HTTP/1.1 200 ") {
            let status = head.lines().next().unwrap_or_default();
            return Err(format!("{path}: the server answers {status}: {body}").into());
        }
        Ok(Answer { head, body })
    }
}

impl Answer<'_> {
    /// The cookie that the server sets, without its attributes.
    pub(crate) fn cookie(&self) -> Option<&str> {
        let value = field(self.head, "set-cookie")?;
        value.split(';').next()
    }

    /// The names of its header fields, in order.
    pub(crate) fn fields(&self) -> Vec<String> {
        let mut names: Vec<_> = fields(self.head).map(|(name, _)| name.to_owned()).collect();
        names.sort();
        names
    }
}

/// Asks once, on a connection of its own.
pub(crate) async fn ask_json(server: SocketAddr, path: &str) -> Result<Value, BoxError> {
    let mut connection = Connection::open(server).await?;
    let answer = connection.get(path, "").await?;
    Ok(serde_json::from_str(answer.body)?)
}

/// Where the head of an answer ends, if it is all there.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(at + 4)
}

fn field<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut fields = fields(head);
    fields.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then_some(value))
}

fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = head.split("\r\n").skip(1);
    lines.filter_map(|line| line.split_once(": "))
}

const READ_BYTES: usize = 16 * 1024;
