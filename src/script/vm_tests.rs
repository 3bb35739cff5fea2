#![allow(clippy::unwrap_used)]

use crate::testing::{Script, eval};
use crate::{Outcome, Place};

#[test]
fn a_handler_replies() {
    let script = Script::new(r#"gw.get("/hello", function(req) return 200, "Hello World" end)"#);
    let Outcome::Reply(reply) = script.get("/hello") else { panic!() };
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.field("content-type"), Some(&b"text/plain; charset=utf-8"[..]));
    assert_eq!(script.vm.bundle().declarations().handlers, [Place { file: "test.lua".into(), line: 1 }]);
}

#[test]
fn a_script_computes() {
    assert_eq!(eval("1 + 2"), "3");
}
