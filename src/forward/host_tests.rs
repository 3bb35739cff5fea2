//! Tests of the forms of hosts, through the parser of request heads.
#![allow(clippy::unwrap_used)]

use ringway_wire::normalize::Authority;

use super::*;
use crate::addresses::forbidden;

/// Reads a target as a request has it; `Err` where it is refused before any name is resolved.
fn read(text: &str) -> Result<String, &'static str> {
    let authority = Authority::parse(text.as_bytes()).map_err(|_| "syntax")?;
    match Host::parse(authority.host()).map_err(|_| "numeric")? {
        Host::Address(address) if forbidden(address).is_some() => Err("forbidden"),
        host => Ok(host.to_string()),
    }
}

#[test]
fn spellings_of_addresses_reach_nothing_inside() {
    let spellings = [
        "127.0.0.1",
        "127.0.0.1:80",
        "127.1",
        "127.0.1",
        "127.00.0.1",
        "127.0.0.01",
        "0127.0.0.1",
        "2130706433",
        "02130706433",
        "017700000001",
        "0x7f000001",
        "0x7F000001",
        "0x7f.1",
        "0x7f.0.0.1",
        "127.0x0.0.1",
        "127.0.0.0x1",
        "0",
        "0.0.0.0",
        "00",
        "0x0",
        "0x",
        "1",
        "127.0.0.1.",
        "127.1.",
        "2130706433.",
        "127.0.0.256",
        "256.256.256.256",
        "1.2.3.4.5",
        "a.1",
        "a.0x1",
        "a.00",
        "localhost.127",
        "%31%32%37.0.0.1",
        "127%2e0.0.1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "１２７.0.0.1",
        "[::1]",
        "[::1]:443",
        "[0:0:0:0:0:0:0:1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::169.254.169.254]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[fd00:ec2::254]",
        "[::1",
        "::1",
        "[127.0.0.1]",
        "169.254.169.254",
        "169.254.43518",
        "0xa9fea9fe",
        "2852039166",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "user@127.0.0.1",
        "a@b",
        "a b.example",
        "a..example",
        ".example",
        "127.0.0.1#.example",
        "127.0.0.1\\.example",
        "example:0",
        "example:65536",
        "example:+80",
        "example:0x50",
    ];
    assert!(spellings.len() >= 60);
    for spelling in spellings {
        assert!(read(spelling).is_err(), "{spelling}: {:?}", read(spelling));
    }
}

#[test]
fn names_and_public_addresses_have_one_form() {
    for (text, form) in [
        ("Example.COM", "example.com"),
        ("example.com.:443", "example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.example", "1.example"),
        ("127.0.0.1.example", "127.0.0.1.example"),
        ("0x7f.a", "0x7f.a"),
        ("a.0xg", "a.0xg"),
        ("a-1", "a-1"),
        ("localhost", "localhost"),
        ("8.8.8.8", "8.8.8.8"),
        ("[2606:4700::1111]:443", "2606:4700::1111"),
    ] {
        assert_eq!(read(text).as_deref(), Ok(form), "{text}");
    }
}
