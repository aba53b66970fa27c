//! Both runtimes speak with a WebSocket client that nobody here wrote (async-tungstenite over smol's sockets), so that our
//! codec is not only tested against our own reading of RFC 6455.
#![allow(clippy::indexing_slicing, reason = "what a JSON value lacks reads as null")]

use std::error::Error;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::CloseFrame;
use async_tungstenite::tungstenite::protocol::frame::Frame;
use async_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use async_tungstenite::{WebSocketStream, client_async};
use portcullis_conformance::child::Child;
use portcullis_conformance::serve::{self, Runtime};
use serde_json::{Value, json};
use smol::stream::StreamExt;
use smol::{Async, Timer, block_on};

type Failure = Box<dyn Error>;
type Socket = WebSocketStream<Async<TcpStream>>;

/// How long one talk may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// `gateway.maxPayloadBytes` when nobody sets it.
const LIMIT: usize = 524_288;

/// Has the same talk with a gateway on each runtime.
fn on_both(talk: impl AsyncFn(&Child) -> Result<(), Failure>) {
    for runtime in [Runtime::Smol, Runtime::Blocking] {
        let program = serve::own(PathBuf::from(env!("CARGO_BIN_EXE_portcullis-conformance")), runtime);
        let child = Child::start(&program, Vec::new(), true).unwrap_or_else(|why| panic!("{why}"));
        let over = async {
            Timer::after(PATIENCE).await;
            Err(format!("not over after {} s", PATIENCE.as_secs()).into())
        };
        if let Err(why) = block_on(smol::future::or(talk(&child), over)) {
            panic!("{}: {why}", runtime.name());
        }
    }
}

async fn open(address: SocketAddr) -> Result<Socket, Failure> {
    let stream = Async::<TcpStream>::connect(address).await?;
    let (mut socket, response) = client_async(format!("ws://{address}/gateway"), stream).await?;
    same(response.status().as_u16(), 101)?;
    let challenge = receive(&mut socket).await?;
    same(challenge["event"].as_str(), Some("connect.challenge"))?;
    let nonce = challenge["payload"]["nonce"]
        .as_str()
        .ok_or("a challenge without a nonce")?;
    let client = json!({"id": "peer", "version": "1", "platform": "test", "mode": "test"});
    let params = json!({"minProtocol": 1, "maxProtocol": 1, "client": client, "nonce": nonce,
        "auth": {"token": portcullis_conformance::vector::TOKEN}});
    ask(&mut socket, "c", "connect", params).await?;
    let hello = receive(&mut socket).await?;
    same(hello["payload"]["type"].as_str(), Some("hello-ok"))?;
    Ok(socket)
}

fn request(id: &str, method: &str, params: Value) -> String {
    json!({"type": "req", "id": id, "method": method, "params": params}).to_string()
}

async fn ask(socket: &mut Socket, id: &str, method: &str, params: Value) -> Result<(), Failure> {
    Ok(socket.send(Message::text(request(id, method, params))).await?)
}

/// The next message.
async fn next(socket: &mut Socket) -> Result<Message, Failure> {
    Ok(socket.next().await.ok_or("the stream has ended")??)
}

/// The next message as JSON; the gateway only ever sends text.
async fn receive(socket: &mut Socket) -> Result<Value, Failure> {
    loop {
        match next(socket).await? {
            Message::Text(text) => return Ok(serde_json::from_str(&text)?),
            Message::Ping(_) => {}
            other => return Err(format!("expected text, came {other:?}").into()),
        }
    }
}

/// Expects the answer to `id`; what it streams before that is returned.
async fn answer(socket: &mut Socket, id: &str) -> Result<(Value, String), Failure> {
    let mut streamed = String::new();
    loop {
        let mut frame = receive(socket).await?;
        if frame["event"] == "agent.stream" {
            same(frame["payload"]["runId"].as_str(), Some(id))?;
            streamed.push_str(frame["payload"]["chunk"].as_str().unwrap_or_default());
        } else if frame["id"] == id {
            same(frame["ok"].as_bool(), Some(true))?;
            return Ok((frame["payload"].take(), streamed));
        } else if frame["event"] != "tick" {
            return Err(format!("expected the answer to {id}, came {frame}").into());
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(came: T, expected: T) -> Result<(), Failure> {
    if came == expected {
        Ok(())
    } else {
        Err(format!("expected {expected:?}, came {came:?}").into())
    }
}

/// Expects a close frame and then the end of the stream.
async fn closed(socket: &mut Socket, code: u16, reason: &str) -> Result<(), Failure> {
    loop {
        match next(socket).await? {
            Message::Close(Some(frame)) => {
                same((u16::from(frame.code), frame.reason.as_str()), (code, reason))?;
                break;
            }
            Message::Text(_) | Message::Ping(_) => {}
            other => return Err(format!("expected a close frame, came {other:?}").into()),
        }
    }
    match socket.next().await {
        None | Some(Err(_)) => Ok(()),
        Some(Ok(message)) => Err(format!("after the close frame came {message:?}").into()),
    }
}

#[test]
fn it_connects_asks_for_health_and_runs_an_agent() {
    on_both(async |child| {
        let mut socket = open(child.address()).await?;
        ask(&mut socket, "h", "health", json!({})).await?;
        let (health, _) = answer(&mut socket, "h").await?;
        same(health["status"].as_str(), Some("ok"))?;
        let params = json!({"idempotencyKey": "k", "message": "hello g\u{f6}at \u{1f410}"});
        ask(&mut socket, "r", "agent.run", params).await?;
        let (run, streamed) = answer(&mut socket, "r").await?;
        same(run["result"]["stdout"].as_str(), Some("hello g\u{f6}at \u{1f410}"))?;
        same(streamed.as_str(), "hello g\u{f6}at \u{1f410}")
    });
}

#[test]
fn large_messages_pass_both_ways_and_larger_ones_end_with_1009() {
    on_both(async |child| {
        let mut socket = open(child.address()).await?;
        let message = "\u{e4}".repeat(100_000);
        let params = json!({"idempotencyKey": "k", "message": message, "disableSession": true});
        ask(&mut socket, "r", "agent.run", params).await?;
        let (run, streamed) = answer(&mut socket, "r").await?;
        same(
            run["result"]["stdout"].as_str() == Some(&message) && streamed == message,
            true,
        )?;
        for size in [125, 126, 65_535, 65_536, LIMIT - 1, LIMIT] {
            let text = request("h", "health", Value::Null);
            let padded = format!("{text}{}", " ".repeat(size - text.len()));
            socket.send(Message::text(padded)).await?;
            answer(&mut socket, "h").await?;
        }
        // The gateway judges by the frame's header and closes while we still send: how far the write comes is not ours to say.
        let too_large = Message::text(" ".repeat(LIMIT + 1));
        let _ = socket.send(too_large).await;
        match closed(&mut socket, 1009, "message too big").await {
            Err(why) if why.to_string().contains("expected (1009") => Err(why),
            _ => Ok(()),
        }
    });
}

#[test]
fn fragments_with_pings_between_and_binary_messages_are_read() {
    on_both(async |child| {
        let mut socket = open(child.address()).await?;
        let text = request(
            "r",
            "agent.run",
            json!({"idempotencyKey": "k", "message": "z\u{fc}ge \u{1f410}"}),
        );
        // Every piece is one byte: each character of several bytes is cut.
        let bytes = text.as_bytes();
        for (index, byte) in bytes.iter().enumerate() {
            let kind = if index == 0 { Data::Text } else { Data::Continue };
            let frame = Frame::message(vec![*byte], OpCode::Data(kind), index + 1 == bytes.len());
            socket.send(Message::Frame(frame)).await?;
            if index == bytes.len() / 2 {
                socket.send(Message::Ping("between".into())).await?;
            }
        }
        same(next(&mut socket).await?, Message::Pong("between".into()))?;
        let (run, _) = answer(&mut socket, "r").await?;
        same(run["result"]["stdout"].as_str(), Some("z\u{fc}ge \u{1f410}"))?;
        let text = request("b", "health", Value::Null);
        socket.send(Message::binary(text.into_bytes())).await?;
        answer(&mut socket, "b").await.map(drop)
    });
}

#[test]
fn pings_are_answered_with_their_payload() {
    on_both(async |child| {
        let mut socket = open(child.address()).await?;
        for size in [0, 1, 125] {
            let payload = vec![0xa5; size];
            socket.send(Message::Ping(payload.clone().into())).await?;
            same(next(&mut socket).await?, Message::Pong(payload.into()))?;
        }
        socket.send(Message::Pong("nobody asked".into())).await?;
        ask(&mut socket, "h", "health", Value::Null).await?;
        answer(&mut socket, "h").await.map(drop)
    });
}

#[test]
fn close_frames_are_answered_with_their_code() {
    on_both(async |child| {
        for code in [1000, 1001, 3000, 4999] {
            let mut socket = open(child.address()).await?;
            let frame = CloseFrame {
                code: CloseCode::from(code),
                reason: "bye".into(),
            };
            socket.close(Some(frame)).await?;
            let answered = next(&mut socket).await?;
            let Message::Close(Some(frame)) = answered else {
                return Err(format!("expected a close frame, came {answered:?}").into());
            };
            same(u16::from(frame.code), code)?;
            same(socket.next().await.is_none(), true)?;
        }
        let mut socket = open(child.address()).await?;
        socket.close(None).await?;
        same(next(&mut socket).await?, Message::Close(None))?;
        same(socket.next().await.is_none(), true)
    });
}

#[test]
fn the_gateway_closes_with_its_own_codes() {
    on_both(async |child| {
        let stream = Async::<TcpStream>::connect(child.address()).await?;
        let (mut socket, _) = client_async(format!("ws://{}/gateway", child.address()), stream).await?;
        ask(&mut socket, "x", "health", Value::Null).await?;
        closed(&mut socket, 1008, "first request must be connect").await?;
        let mut socket = open(child.address()).await?;
        let frame = Frame::message(vec![0xff], OpCode::Data(Data::Text), true);
        socket.send(Message::Frame(frame)).await?;
        match next(&mut socket).await? {
            Message::Close(Some(frame)) => same(u16::from(frame.code), 1007)?,
            other => return Err(format!("expected a close frame, came {other:?}").into()),
        }
        let mut socket = open(child.address()).await?;
        child.terminate()?;
        closed(&mut socket, 1001, "server shutdown").await
    });
}
