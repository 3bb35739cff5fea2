//! Scripted name server for tests: listens on UDP and TCP on one loopback port and responds as its script
//! says.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub use domain::base::Rtype;
pub use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder};
use domain::rdata::{A, Aaaa, Caa, Cname};
use ringway_net::clock;

use crate::Resolver;

type WireName = domain::base::Name<Vec<u8>>;

/// Scripted name server. Dropping it ends its threads.
pub struct Server {
    pub address: SocketAddr,
    queries: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

/// Received query.
pub struct Query {
    message: Vec<u8>,
    pub name: String,
    pub record_type: Rtype,
    pub is_tcp: bool,
}

/// Record data of a script.
#[derive(Clone)]
pub enum Data {
    Ip(IpAddr),
    Alias(&'static str),
    Caa(u8, &'static str, &'static str),
}

pub fn ip(text: &str) -> Data {
    Data::Ip(text.parse().unwrap())
}

/// Messages sent for one query.
type Script = Box<dyn Fn(&Query) -> Vec<Vec<u8>> + Send + Sync>;

impl Query {
    fn parse(message: &[u8], is_tcp: bool) -> Self {
        let parsed = Message::from_octets(message).unwrap();
        let question = parsed.sole_question().unwrap();
        let name = question.qname().to_string().trim_end_matches('.').to_ascii_lowercase();
        let record_type = question.qtype();
        Self { message: message.to_vec(), name, record_type, is_tcp }
    }

    /// Builds a response with these records.
    pub fn response(&self, rcode: Rcode, records: &[(&str, Data)]) -> Vec<u8> {
        let question = Message::from_octets(self.message.clone()).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(&question, rcode).unwrap();
        for (owner, data) in records {
            let owner: WireName = owner.parse().unwrap();
            match data {
                Data::Ip(IpAddr::V4(ip)) => answer.push((owner, 60, A::new(*ip))),
                Data::Ip(IpAddr::V6(ip)) => answer.push((owner, 60, Aaaa::new(*ip))),
                Data::Alias(target) => {
                    answer.push((owner, 60, Cname::new(target.parse::<WireName>().unwrap())))
                }
                Data::Caa(flags, tag, value) => {
                    let tag = domain::rdata::caa::CaaTag::from_octets(tag.as_bytes().to_vec()).unwrap();
                    let flags = domain::rdata::caa::CaaFlags::new(*flags);
                    answer.push((owner, 60, Caa::new(flags, tag, value.as_bytes().to_vec())))
                }
            }
            .unwrap();
        }
        answer.finish()
    }

    /// Builds a SERVFAIL response.
    pub fn servfail(&self) -> Vec<u8> {
        self.response(Rcode::SERVFAIL, &[])
    }

    /// Builds an empty response with the TC bit.
    pub fn truncated(&self) -> Vec<u8> {
        let mut response = self.response(Rcode::NOERROR, &[]);
        response[2] |= 0x02;
        response
    }
}

impl Server {
    pub fn new(script: impl Fn(&Query) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (listener, socket) = loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
                break (listener, socket);
            }
        };
        let address = listener.local_addr().unwrap();
        let queries: Arc<Mutex<Vec<String>>> = Arc::default();
        let script: Arc<Script> = Arc::new(Box::new(script));
        let record = |queries: &Mutex<Vec<String>>, query: &Query| {
            let transport = if query.is_tcp { "tcp" } else { "udp" };
            queries.lock().unwrap().push(format!("{transport} {} {}", query.record_type, query.name));
        };
        let udp = {
            let (queries, script) = (Arc::clone(&queries), Arc::clone(&script));
            std::thread::spawn(move || {
                let mut buf = [0; 4096];
                loop {
                    let (count, peer) = socket.recv_from(&mut buf).unwrap();
                    if count < 12 {
                        return;
                    }
                    let query = Query::parse(&buf[..count], false);
                    record(&queries, &query);
                    for response in script(&query) {
                        socket.send_to(&response, peer).unwrap();
                    }
                }
            })
        };
        let tcp = {
            let queries = Arc::clone(&queries);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    let mut length = [0; 2];
                    if stream.read_exact(&mut length).is_err() {
                        return;
                    }
                    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut message).unwrap();
                    let query = Query::parse(&message, true);
                    record(&queries, &query);
                    for response in script(&query) {
                        let length = u16::try_from(response.len()).unwrap().to_be_bytes();
                        stream.write_all(&[&length[..], &response].concat()).unwrap();
                    }
                }
            })
        };
        Self { address, queries, threads: vec![udp, tcp] }
    }

    /// Serves these records without following aliases; NXDOMAIN for all other names.
    pub fn zone(records: Vec<(&'static str, Data)>) -> Self {
        Self::new(move |query| vec![zone_response(&records, query)])
    }

    /// Queries so far: transport, type and name.
    pub fn queries(&self) -> Vec<String> {
        self.queries.lock().unwrap().clone()
    }

    /// Resolver that queries this server.
    pub fn resolver(&self) -> Resolver {
        Resolver::with(vec![self.address], clock::now().after(Duration::from_secs(60)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let local = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        local.send_to(b"stop", self.address).unwrap();
        drop(TcpStream::connect(self.address).unwrap());
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn zone_response(records: &[(&'static str, Data)], query: &Query) -> Vec<u8> {
    let of_name: Vec<(&str, Data)> =
        records.iter().filter(|(owner, _)| *owner == query.name).cloned().collect();
    if of_name.is_empty() {
        return query.response(Rcode::NXDOMAIN, &[]);
    }
    let fits = |data: &Data| match data {
        Data::Ip(IpAddr::V4(_)) => query.record_type == Rtype::A,
        Data::Ip(IpAddr::V6(_)) => query.record_type == Rtype::AAAA,
        Data::Alias(_) => true,
        Data::Caa(..) => query.record_type == Rtype::CAA,
    };
    let fitting: Vec<(&str, Data)> = of_name.into_iter().filter(|(_, data)| fits(data)).collect();
    query.response(Rcode::NOERROR, &fitting)
}
