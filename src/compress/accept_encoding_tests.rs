use super::{AcceptEncoding, Choice};
use ringway_model::Coding::{self, Br, Gzip, Zstd};

const ALL: &[Coding] = &Coding::ALL;

fn choose(line: &str, codings: &[Coding]) -> Option<Coding> {
    match AcceptEncoding::parse([line.as_bytes()]).choose(codings) {
        Choice::Coded(coding) => Some(coding),
        Choice::Identity => None,
    }
}

#[test]
fn weights_decide_and_then_the_order_of_the_configuration() {
    for (line, codings, expected) in [
        // Names.
        ("gzip", ALL, Some(Gzip)),
        ("br", ALL, Some(Br)),
        ("zstd", ALL, Some(Zstd)),
        ("GZip", ALL, Some(Gzip)),
        ("BR", ALL, Some(Br)),
        ("x-gzip", ALL, Some(Gzip)),
        ("deflate", ALL, None),
        ("compress", ALL, None),
        ("gzipped", ALL, None),
        ("dcb, dcz", ALL, None),
        ("identity", ALL, None),
        ("", ALL, None),
        (" ", ALL, None),
        (",", ALL, None),
        // Browsers.
        ("gzip, deflate, br, zstd", ALL, Some(Zstd)),
        ("gzip, deflate, br", ALL, Some(Br)),
        ("gzip, deflate", ALL, Some(Gzip)),
        ("gzip,deflate", ALL, Some(Gzip)),
        // Order of the configuration.
        ("zstd, br, gzip", &[Gzip, Br, Zstd], Some(Gzip)),
        ("zstd, br", &[Gzip, Br, Zstd], Some(Br)),
        ("gzip, br, zstd", &[Br], Some(Br)),
        ("gzip", &[Br, Zstd], None),
        ("gzip", &[], None),
        // Weights.
        ("gzip;q=1.0, br;q=0.5", ALL, Some(Gzip)),
        ("zstd;q=0.1, br;q=0.2, gzip;q=0.3", ALL, Some(Gzip)),
        ("zstd;q=0.001, br;q=0.002", ALL, Some(Br)),
        ("zstd;q=0.5, br;q=0.5, gzip;q=0.4", ALL, Some(Zstd)),
        ("br;q=0.9, gzip;q=0.9", &[Gzip, Br], Some(Gzip)),
        ("gzip;q=0", ALL, None),
        ("gzip;q=0.0", ALL, None),
        ("gzip;q=0.00", ALL, None),
        ("gzip;q=0.000", ALL, None),
        ("gzip;q=0, br", ALL, Some(Br)),
        ("gzip;q=0.001", ALL, Some(Gzip)),
        ("gzip;q=1", ALL, Some(Gzip)),
        ("gzip;q=1.", ALL, Some(Gzip)),
        ("gzip;q=1.000", ALL, Some(Gzip)),
        ("gzip;Q=0.5", ALL, Some(Gzip)),
        ("gzip ; q=0.5", ALL, Some(Gzip)),
        ("gzip\t;\tq=0.5 ", ALL, Some(Gzip)),
        // Invalid members count as absent.
        ("gzip;q=1.001", ALL, None),
        ("gzip;q=2", ALL, None),
        ("gzip;q=-1", ALL, None),
        ("gzip;q=0.1234", ALL, None),
        ("gzip;q=.5", ALL, None),
        ("gzip;q=", ALL, None),
        ("gzip;q", ALL, None),
        ("gzip;q=a", ALL, None),
        ("gzip;q=0.a", ALL, None),
        ("gzip;q=0,5", ALL, None),
        ("gzip;q =1", ALL, None),
        ("gzip;level=9", ALL, None),
        ("gzip;q=1;x=y", ALL, None),
        (";q=1", ALL, None),
        ("g zip", ALL, None),
        ("\"gzip\"", ALL, None),
        ("gzip;q=9, br", ALL, Some(Br)),
        // The wildcard is for all that are not named.
        ("*", ALL, Some(Zstd)),
        ("*", &[Gzip], Some(Gzip)),
        ("*;q=0", ALL, None),
        ("gzip, *;q=0", ALL, Some(Gzip)),
        ("zstd;q=0, *", ALL, Some(Br)),
        ("gzip;q=0.5, *;q=0.2", ALL, Some(Gzip)),
        ("gzip;q=0.5, *;q=0.7", ALL, Some(Zstd)),
        ("zstd;q=0, br;q=0, gzip;q=0, *", ALL, None),
        ("*;q=0.5, identity;q=0.4", ALL, Some(Zstd)),
        // Identity.
        ("identity, gzip;q=0.5", ALL, None),
        ("identity;q=0.5, gzip;q=0.5", ALL, Some(Gzip)),
        ("identity;q=0.5, gzip;q=0.4, br;q=0.6", ALL, Some(Br)),
        ("identity;q=0, gzip;q=0.1", ALL, Some(Gzip)),
        ("identity;q=0", ALL, None),
        ("identity;q=0, *;q=0", ALL, None),
        ("*;q=0.1, identity", ALL, None),
        // The least of several weights.
        ("gzip, gzip;q=0", ALL, None),
        ("gzip;q=0, gzip", ALL, None),
        ("gzip, x-gzip;q=0", ALL, None),
        ("gzip;q=0.9, gzip;q=0.1, br;q=0.5", ALL, Some(Br)),
    ] {
        assert_eq!(choose(line, codings), expected, "{line:?} {codings:?}");
    }
}

#[test]
fn lines_are_one_list_and_none_asks_for_nothing() {
    let lines =
        |lines: &[&'static str]| AcceptEncoding::parse(lines.iter().map(|line| line.as_bytes())).choose(ALL);
    assert_eq!(lines(&[]), Choice::Identity);
    assert_eq!(lines(&["deflate", "gzip;q=0.2", "br;q=0.3"]), Choice::Coded(Br));
    assert_eq!(lines(&["gzip", "gzip;q=0"]), Choice::Identity);
}

#[test]
fn bytes_that_are_no_text_are_not_accepted() {
    for line in [&b"\xff\xfe"[..], b"gzip\x80", b"gz\0ip", b";;;;", b"*;*;*", b"q=1"] {
        assert_eq!(AcceptEncoding::parse([line]).choose(ALL), Choice::Identity);
    }
}
