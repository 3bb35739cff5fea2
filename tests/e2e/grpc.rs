//! gRPC, with a real client before the proxy and a real server behind it: HTTP/2 on both sides, tonic's own.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
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

use crate::kit::h2::{Secure, serving};
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

/// Answers each message at once.
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
}
