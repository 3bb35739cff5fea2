//! gRPC, with a real client before the proxy and a real server behind it: HTTP/2 on both sides, tonic's own.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, Stdio};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use tonic::body::Body;
use tonic::client::Grpc as Caller;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::tokio_stream::{self, Stream, StreamExt};
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataValue;
use tonic::server::Grpc as Server;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::kit::h2::{H2, Secure, serving, serving_as};
use crate::kit::h2_origin::H2Origin;
use crate::kit::*;

/// Messages are bytes.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut item = vec![0; from.remaining()];
        from.copy_to_slice(&mut item);
        Ok(Some(item))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

/// One method of each kind.
#[derive(Clone, Copy)]
struct Methods;

impl Service<http::Request<Body>> for Methods {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Server::new(Plain);
            Ok(match request.uri().path() {
                "/test.Methods/Echo" => grpc.unary(Echo, request).await,
                "/test.Methods/Count" => grpc.server_streaming(Count, request).await,
                "/test.Methods/Join" => grpc.client_streaming(Join, request).await,
                "/test.Methods/Converse" => grpc.streaming(Converse, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Gives a message back, with the metadata that came with it; `fail` is an error with details.
#[derive(Clone, Copy)]
struct Echo;

impl tonic::server::UnaryService<Vec<u8>> for Echo {
    type Response = Vec<u8>;
    type Future = Ready<Result<Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let tenant = request.metadata().get("x-tenant").cloned();
        if request.get_ref() == b"fail" {
            return ready(Err(Status::with_details(
                Code::FailedPrecondition,
                "not today: größer %",
                b"\0\x01details".to_vec().into(),
            )));
        }
        let mut response = Response::new(request.into_inner());
        if let Some(tenant) = tenant {
            response.metadata_mut().insert("x-tenant", tenant);
        }
        ready(Ok(response))
    }
}

/// Counts to the number in the message, and fails after it.
#[derive(Clone, Copy)]
struct Count;

impl tonic::server::ServerStreamingService<Vec<u8>> for Count {
    type Response = Vec<u8>;
    type ResponseStream = Messages;
    type Future = Ready<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let count: u32 = String::from_utf8(request.into_inner()).unwrap().parse().unwrap();
        let numbers = (0..count).map(|number| Ok(number.to_string().into_bytes()));
        let end = std::iter::once(Err(Status::out_of_range("that was all")));
        ready(Ok(Response::new(Box::pin(tokio_stream::iter(numbers.chain(end))))))
    }
}

/// Puts all messages into one.
#[derive(Clone, Copy)]
struct Join;

impl tonic::server::ClientStreamingService<Vec<u8>> for Join {
    type Response = Vec<u8>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        Box::pin(async move {
            let mut messages = request.into_inner();
            let mut joined = Vec::new();
            while let Some(message) = messages.message().await? {
                joined.extend(message);
            }
            Ok(Response::new(joined))
        })
    }
}

/// Responds to each message at once.
#[derive(Clone, Copy)]
struct Converse;

impl tonic::server::StreamingService<Vec<u8>> for Converse {
    type Response = Vec<u8>;
    type ResponseStream = Messages;
    type Future = Ready<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let answers =
            request.into_inner().map(|message| message.map(|text| [b"re: ", text.as_slice()].concat()));
        ready(Ok(Response::new(Box::pin(answers))))
    }
}

/// A server of grpcio with its defaults: `Watch` sends a message, says nothing for as many seconds as it was
/// asked for, and sends another; `Later` says nothing before its only message; `Talk` answers each message;
/// `Collect` answers the last one with all. It ends with its standard input.
const SERVER: &str = r#"
import sys, time, grpc
from concurrent import futures
def watch(request, context):
    yield b"first"
    time.sleep(float(request))
    yield b"last"
def later(request, context):
    time.sleep(float(request))
    yield b"first"
def talk(requests, context):
    for message in requests:
        yield b"re: " + message
def collect(requests, context):
    return b"+".join(requests)
server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Methods", {
    "Watch": grpc.unary_stream_rpc_method_handler(watch),
    "Later": grpc.unary_stream_rpc_method_handler(later),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
}),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
server.stop(0)
"#;

/// A grpcio client; arguments: port, CA file, action, seconds of silence. Prints the result.
const CLIENT: &str = r#"
import sys, time, grpc
port, ca, what, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
channel = grpc.secure_channel("127.0.0.1:" + port, credentials, (("grpc.ssl_target_name_override", "app.test"),))
def slowly():
    for message in (b"a", b"b", b"c"):
        yield message
        time.sleep(seconds)
try:
    if what == "watch":
        out = list(channel.unary_stream("/test.Methods/Watch")(str(seconds).encode(), timeout=seconds + 30))
    elif what == "later":
        out = list(channel.unary_stream("/test.Methods/Later")(str(seconds).encode(), timeout=seconds + 30))
    elif what == "talk":
        out = list(channel.stream_stream("/test.Methods/Talk")(slowly(), timeout=3 * seconds + 30))
    elif what == "collect":
        out = [channel.stream_unary("/test.Methods/Collect")(slowly(), timeout=3 * seconds + 30)]
    else:
        out = [channel.unary_unary("/test.Methods/" + what)(b"", timeout=30)]
    print(b",".join(out).decode())
except grpc.RpcError as error:
    print(error.code().name, error.details())
"#;

/// A running server of grpcio.
struct Grpcio(Child, u16);

impl Grpcio {
    fn start() -> Self {
        let mut python = clients::python();
        let mut child =
            python.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().parse().expect("the server's port"))
    }

    fn target(&self) -> String {
        format!("h2c://127.0.0.1:{}", self.1)
    }
}

impl Drop for Grpcio {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Result of a grpcio client.
fn grpcio(proxy: &Secure, what: &str, seconds: f64) -> String {
    let ca = proxy.store().parent().unwrap().join("ca.pem");
    std::fs::write(&ca, proxy.authority()).unwrap();
    let (port, seconds) = (proxy.https().port().to_string(), seconds.to_string());
    let output =
        clients::python().args(["-c", CLIENT, &port, ca.to_str().unwrap(), what, &seconds]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A gRPC server on a thread of its own, for as long as the process lives.
fn server() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap();
            tell.send(incoming.local_addr().unwrap()).unwrap();
            tonic::transport::Server::builder().serve_with_incoming(Methods, incoming).await.unwrap();
        });
    });
    told.recv_timeout(SOON).unwrap()
}

/// A proxy that serves `app.test` over TLS with the gRPC server.
fn proxy(driver: Driver) -> Secure {
    let proxy = serving(driver, &Origin::named("unused"));
    proxy.api().remove("app-1");
    proxy.api().add("app", "app-2", &format!("h2c://{}", server()));
    proxy
}

async fn caller(proxy: &Secure) -> Caller<Channel> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(proxy.authority()))
        .domain_name("app.test");
    let endpoint = Endpoint::from_shared(format!("https://{}", proxy.https())).unwrap();
    let endpoint = endpoint.origin("https://app.test".parse().unwrap()).timeout(SOON).connect_timeout(SOON);
    Caller::new(endpoint.tls_config(tls).unwrap().connect().await.unwrap())
}

/// Runs a conversation to its end.
fn talk<F: Future<Output = ()>>(proxy: &Secure, conversation: impl FnOnce(Caller<Channel>) -> F) {
    runtime().block_on(async {
        let mut caller = caller(proxy).await;
        caller.ready().await.unwrap();
        tokio::time::timeout(SOON, conversation(caller)).await.expect("a conversation that ends");
    });
}

fn method(name: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(name)
}

on_both_drivers! {
    fn one_message_is_answered_with_one(driver) {
        talk(&proxy(driver), |mut caller| async move {
            for body in [Vec::new(), b"hello".to_vec(), pattern(1_000_000)] {
                caller.ready().await.unwrap();
                let mut request = Request::new(body.clone());
                request.metadata_mut().insert("x-tenant", MetadataValue::from_static("acme"));
                let response = caller.unary(request, method("/test.Methods/Echo"), Plain).await.unwrap();
                assert_eq!(response.metadata().get("x-tenant").unwrap(), "acme");
                assert!(response.into_inner() == body);
            }
        });
    }

    fn errors_arrive_with_code_message_and_details(driver) {
        talk(&proxy(driver), |mut caller| async move {
            let request = Request::new(b"fail".to_vec());
            let status = caller.unary(request, method("/test.Methods/Echo"), Plain).await.unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not today: größer %"));
            assert_eq!(status.details(), b"\0\x01details");
            caller.ready().await.unwrap();
            let request = Request::new(Vec::new());
            let status = caller.unary(request, method("/test.Methods/Nothing"), Plain).await.unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no such method"));
        });
    }

    fn many_messages_follow_one_and_the_status_follows_them(driver) {
        talk(&proxy(driver), |mut caller| async move {
            let request = Request::new(b"3000".to_vec());
            let mut messages =
                caller.server_streaming(request, method("/test.Methods/Count"), Plain).await.unwrap().into_inner();
            for number in 0..3_000 {
                assert_eq!(messages.message().await.unwrap().unwrap(), number.to_string().into_bytes());
            }
            let status = messages.message().await.unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::OutOfRange, "that was all"));
        });
    }

    fn one_message_follows_many(driver) {
        talk(&proxy(driver), |mut caller| async move {
            let messages: Vec<Vec<u8>> = pattern(600_000).chunks(7_000).map(<[u8]>::to_vec).collect();
            let request = Request::new(tokio_stream::iter(messages));
            let response = caller.client_streaming(request, method("/test.Methods/Join"), Plain).await.unwrap();
            assert!(response.into_inner() == pattern(600_000));
        });
    }

    fn both_sides_talk_in_turn(driver) {
        talk(&proxy(driver), |mut caller| async move {
            let (say, said) = tokio::sync::mpsc::unbounded_channel();
            let said = tokio_stream::wrappers::UnboundedReceiverStream::new(said);
            // The first message goes out with the head, so that the answer's head comes.
            say.send(b"0".to_vec()).unwrap();
            let request = Request::new(said);
            let mut answers =
                caller.streaming(request, method("/test.Methods/Converse"), Plain).await.unwrap().into_inner();
            for turn in 0..200 {
                let answer = answers.message().await.unwrap().unwrap();
                assert_eq!(answer, format!("re: {turn}").into_bytes());
                say.send((turn + 1).to_string().into_bytes()).unwrap();
            }
            drop(say);
            assert_eq!(answers.message().await.unwrap().unwrap(), b"re: 200");
            assert!(answers.message().await.unwrap().is_none(), "an end in good order");
        });
    }

    fn streams_of_grpcio_live_while_nothing_happens(driver) {
        let server = Grpcio::start();
        let proxy = serving_as(Proxy::on(driver).env("PROXY_BODY_TIMEOUT", "1s").env("PROXY_RESPONSE_TIMEOUT", "2s"), &Origin::named("unused"));
        proxy.api().remove("app-1");
        proxy.api().add("app", "app-2", &server.target());
        assert_eq!(grpcio(&proxy, "watch", 3.0), "first,last");
        // Its head comes with its first message, for which there is no time.
        assert_eq!(grpcio(&proxy, "later", 3.0), "first");
        assert_eq!(grpcio(&proxy, "talk", 1.5), "re: a,re: b,re: c");
        // Its head arrives with its only message, after the client's last one.
        assert_eq!(grpcio(&proxy, "collect", 1.5), "a+b+c");
    }

    #[ignore = "more than a minute of silence: what a server of gRPC with its defaults takes for too many PINGs"]
    fn a_silent_stream_outlives_what_grpcio_takes_for_too_many_pings(driver) {
        let server = Grpcio::start();
        let proxy = serving(driver, &Origin::named("unused"));
        proxy.api().remove("app-1");
        proxy.api().add("app", "app-2", &server.target());
        assert_eq!(grpcio(&proxy, "watch", 75.0), "first,last");
        // Slower than the least rate of a body, for longer than its window.
        assert_eq!(grpcio(&proxy, "collect", 17.0), "a+b+c");
    }

    fn local_errors_are_statuses_of_grpc(driver) {
        let silent = H2Origin::new(|_, _| {});
        let origin = Origin::named("unused");
        let proxy = serving_as(Proxy::on(driver).env("PROXY_RESPONSE_TIMEOUT", "1s").env("PROXY_STREAM_IDLE_TIMEOUT", "1s").env("PROXY_BODY_MAX", "10"), &origin);
        let ask = |more: &[(&str, &str)]| {
            let mut client = H2::connect(&proxy);
            let fields = [&[("content-type", "application/grpc+proto"), ("te", "trailers")], more].concat();
            let fields = client.fields("POST", "app.test", "/test.Methods/Echo", &fields);
            let stream = client.begin(&fields, false);
            client.data(stream, &[0; 5], more.is_empty());
            let answer = client.response(stream);
            let code = answer.get("grpc-status").unwrap_or_default().to_owned();
            assert_eq!((answer.status(), answer.get("content-type")), (200, Some("application/grpc")), "{answer:?}");
            assert!(answer.is_ended && answer.body.is_empty() && answer.get("grpc-message").is_some(), "{answer:?}");
            code
        };
        // A body that is too long, and a head that has too many fields to be read at all.
        assert_eq!(ask(&[("content-length", "11")]), "8");
        assert_eq!(ask(&[("x-many", "x"); 130]), "8");
        proxy.api().remove("app-1");
        assert_eq!(ask(&[]), "14");
        assert!(grpcio(&proxy, "Echo", 0.0).starts_with("UNAVAILABLE no instance of the app"));
        proxy.api().add("app", "app-2", &silent.target());
        assert_eq!(ask(&[]), "4");
        assert!(grpcio(&proxy, "Echo", 0.0).starts_with("DEADLINE_EXCEEDED the app's instance did not begin"));
        proxy.api().delete("/api/tenants/domains", &json!({ "domain": "app.test" })).is(204);
        assert_eq!(ask(&[]), "12");
        assert!(grpcio(&proxy, "Echo", 0.0).starts_with("UNIMPLEMENTED no app is registered"));
        // Others get what they got.
        let mut client = H2::connect(&proxy);
        let stream = client.get("app.test", "/");
        assert_eq!(client.response(stream).status(), 404);
    }
}
