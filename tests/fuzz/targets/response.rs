//! A response head: one verdict however it is split, and what is written is accepted again as the same response.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::h1::{Limits, Parse, ResponseHead, ResponseRewrite, write_response};
use ringway_wire::message::Method;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { head_bytes_max: 512, fields_max: 8, ..Limits::default() };
    for method in [Method::Get, Method::Head] {
        let mut whole = ResponseHead::default();
        let verdict = whole.parse(bytes, method, &limits);
        let mut drip = ResponseHead::default();
        let mut last = Ok(Parse::Partial);
        for end in 0..=bytes.len() {
            last = drip.parse(&bytes[..end], method, &limits);
            if last != Ok(Parse::Partial) {
                break;
            }
        }
        assert_eq!(last, verdict);
        if verdict != Ok(Parse::Complete) {
            continue;
        }
        let mut out = Vec::new();
        write_response(&mut out, bytes, &whole, &ResponseRewrite::default());
        let mut again = ResponseHead::default();
        assert_eq!(again.parse(&out, method, &Limits::default()), Ok(Parse::Complete));
        assert_eq!(
            (again.len(), again.framing(), again.status()),
            (out.len(), whole.framing(), whole.status())
        );
    }
});
