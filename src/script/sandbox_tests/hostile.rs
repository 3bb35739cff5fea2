//! Each hostile script ends within its limits, and the VM goes on.

use super::scripts::{End, SCRIPTS};
use super::*;
use crate::testing::thread_cpu_us;

/// The VM as each script finds it. The clock of the CPU runs for those scripts only that it may stop: the
/// others end the same way on each machine.
fn hostile(body: &str, end: &End) -> Script {
    let text = format!(
        "local hits = gw.shared('hits')
        gw.get('/', function(req) {body} end)
        gw.get('/after', function(req)
            return 200, ('ok'):upper() .. tostring(pwned) .. #gw.json.encode{{1, 2}}
        end)"
    );
    Script::with_host(&text, TestHost { real_cpu: may_be(FailureKind::Cpu, end), ..TestHost::default() })
}

fn may_be(kind: FailureKind, end: &End) -> bool {
    matches!(end, End::Fails(kinds) if kinds.contains(&kind))
}

#[test]
fn each_ends_within_its_limits_and_the_vm_goes_on() {
    assert!(SCRIPTS.len() >= 80);
    let mut wrong = Vec::new();
    for (name, body, end) in SCRIPTS {
        let script = hostile(body, end);
        let began_us = thread_cpu_us();
        let outcome = script.get("/");
        eprintln!("{:6} us  {name}", thread_cpu_us() - began_us);
        let is_right = match (&outcome, end) {
            (Outcome::Failed(failure), end @ End::Fails(_)) => may_be(failure.kind, end),
            (Outcome::Reply(reply), End::Says(text)) => {
                matches!(reply.body(), ringway_middleware::ReplyBody::Bytes(bytes) if **bytes == *text.as_bytes())
            }
            _ => false,
        };
        if !is_right {
            wrong.push(format!("{name}: {end:?}, not {outcome:?}"));
        }
        for _ in 0..2 {
            match script.get("/after") {
                Outcome::Reply(reply) if *reply.body() == crate::testing::bytes("OKnil5") => {}
                after => wrong.push(format!("{name}: the VM is broken: {after:?}")),
            }
        }
        assert!(script.vm.waiting() == 0, "{name}: a call still waits");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
