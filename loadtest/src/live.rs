//! Time from a change to its first request: until every core serves a new domain.
//!
//! For every change: the time until the response of the API (all cores have acknowledged), and until the
//! response to a request for the new name on each of several connections, spread over the cores. A 404 on any
//! of them is a failure and ends the run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::{Client, quantile};

/// Connections per run: enough that each core has some, by the kernel's hash.
const CONNECTIONS: usize = 16;

pub(crate) fn run(http: SocketAddr, api: SocketAddr, target: &str, changes: usize) -> Result<(), String> {
    let mut admin = Client::connect(api)?;
    let body = format!(r#"{{"app_id":"live","instance":{{"instance_id":"live-1","target":"{target}"}}}}"#);
    let status = admin.call(api, "POST", "/api/apps/register", &body)?.status;
    if !(200..300).contains(&status) {
        return Err(format!("register: {status}"));
    }
    let mut clients = (0..CONNECTIONS).map(|_| Client::connect(http)).collect::<Result<Vec<_>, _>>()?;
    let (mut answered, mut served, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..changes {
        let name = format!("live-{number}.test");
        let body = format!(r#"{{"domain":"{name}","app_id":"live","type":"subdomain"}}"#);
        let begin = Instant::now();
        let answer = admin.call(api, "POST", "/api/tenants/domains", &body)?;
        answered.push(begin.elapsed());
        if answer.status != 201 {
            return Err(format!("change {number}: {}", answer.status));
        }
        for (connection, client) in clients.iter_mut().enumerate() {
            let status = client.get(&name, "/1")?.status;
            if connection == 0 {
                served.push(begin.elapsed());
            }
            if status != 200 {
                return Err(format!(
                    "change {number} was acknowledged and is not live on connection {connection}: {status}"
                ));
            }
        }
        let begin = Instant::now();
        admin.call(api, "DELETE", "/api/tenants/domains", &format!(r#"{{"domain":"{name}"}}"#))?;
        removed.push(begin.elapsed());
        let status = clients[number % CONNECTIONS].get(&name, "/1")?.status;
        if status != 404 {
            return Err(format!("removal {number} was acknowledged and is still live: {status}"));
        }
    }
    let line = |name: &str, times: &mut Vec<Duration>| {
        times.sort_unstable();
        let ms = |share| quantile(times, share).as_secs_f64() * 1e3;
        format!(r#""{name}_ms":[{:.3},{:.3},{:.3},{:.3}]"#, ms(0.5), ms(0.95), ms(0.99), ms(1.0))
    };
    println!(
        r#"{{"changes":{changes},{},{},{}}}"#,
        line("answered", &mut answered),
        line("served", &mut served),
        line("removed", &mut removed)
    );
    Ok(())
}
