//! A request head: one verdict however it is split, and what is written is accepted again as the same request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::h1::{Limits, Parse, RequestHead, RequestRewrite, write_request};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { uri_bytes_max: 64, head_bytes_max: 512, fields_max: 8 };
    let mut whole = RequestHead::default();
    let verdict = whole.parse(bytes, &limits);
    let mut drip = RequestHead::default();
    let mut last = Ok(Parse::Partial);
    for end in 0..=bytes.len() {
        last = drip.parse(&bytes[..end], &limits);
        if last != Ok(Parse::Partial) {
            break;
        }
    }
    assert_eq!(last, verdict);
    if verdict != Ok(Parse::Complete) || whole.host().is_empty() {
        return;
    }
    let mut out = Vec::new();
    write_request(&mut out, bytes, &whole, &RequestRewrite::default());
    let mut again = RequestHead::default();
    assert_eq!(again.parse(&out, &Limits::default()), Ok(Parse::Complete));
    assert_eq!((again.len(), again.framing(), again.host()), (out.len(), whole.framing(), whole.host()));
    assert_eq!(again.path_and_query(&out), whole.path_and_query(bytes));
    let mut twice = Vec::new();
    write_request(&mut twice, &out, &again, &RequestRewrite::default());
    assert_eq!(twice, out);
});
