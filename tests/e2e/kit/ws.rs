//! Minimal RFC 6455: frames of small messages, and the example handshake.

use super::Client;
use super::http::Fault;

/// Key of RFC 6455 §1.3 and its accept value.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;

/// A well-formed upgrade request.
pub(crate) fn upgrade(host: &str, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Response to it.
pub(crate) fn accepted() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
}

/// Response to a request with this key.
pub(crate) fn accepted_for(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = hash.as_ref().iter().map(|byte| format!("{byte:08b}")).collect();
    let letter = |six: &[u8]| {
        let six = format!("{:0<6}", std::str::from_utf8(six).unwrap());
        char::from(LETTERS[usize::from_str_radix(&six, 2).unwrap()])
    };
    let accept: String = bits.as_bytes().chunks(6).map(letter).collect();
    accepted().replace(ACCEPT, &format!("{accept}="))
}

/// One final frame as a server sends it.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        small @ 0..126 => bytes.push(small as u8),
        large => {
            bytes.push(126);
            bytes.extend_from_slice(&(large as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// One final frame as a client sends it.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = frame(opcode, payload);
    let at = bytes.len() - payload.len();
    bytes[1] |= 0x80;
    let body: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    bytes.truncate(at);
    bytes.extend_from_slice(&mask);
    bytes.extend_from_slice(&body);
    bytes
}

/// The next frame of a server: opcode and payload.
pub(crate) fn read_frame(client: &mut Client) -> Result<(u8, Vec<u8>), Fault> {
    let head = client.try_exactly(2)?;
    let length = match head[1] & 0x7f {
        126 => {
            let bytes = client.try_exactly(2)?;
            usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
        }
        127 => return Err(Fault::Malformed("a frame longer than these tests send".into())),
        small => usize::from(small),
    };
    let mask = if head[1] & 0x80 != 0 { client.try_exactly(4)? } else { vec![0; 4] };
    let body = client.try_exactly(length)?;
    let body = body.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Ok((head[0] & 0x0f, body))
}

/// Opens a WebSocket through the proxy.
pub(crate) fn open(client: &mut Client, host: &str, target: &str) {
    client.send(upgrade(host, target));
    let answer = client.response_head("GET");
    assert_eq!(answer.status(), 101, "{answer:?}");
    assert_eq!(answer.field("sec-websocket-accept"), Some(ACCEPT));
}

/// Sends a text and reads it back.
pub(crate) fn ping_pong(client: &mut Client, text: &str) {
    client.send(masked(TEXT, text.as_bytes()));
    let (opcode, payload) = read_frame(client).unwrap_or_else(|fault| panic!("no frame: {fault:?}"));
    assert_eq!((opcode, String::from_utf8_lossy(&payload).as_ref()), (TEXT, text));
}
