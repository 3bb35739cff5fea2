//! Listening, accepting, connecting.

use super::*;
use crate::{
    Listener, Stream, UnixListener, UnixStream, bind_reuseport, check_free, connect, join, retry_in_use,
    sleep,
};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn listener() -> Listener {
    Listener::from_std(bind_reuseport(any_port(), 128).unwrap()).unwrap()
}

#[test]
fn accepts_connections() {
    on_both_drivers(|| async {
        let listener = listener();
        let accept = async { listener.accept().await.unwrap() };
        let (connected, (accepted, addr)) = join(connect(listener.local_addr(), soon()), accept).await;
        let connected = connected.unwrap();
        assert_eq!(connected.local_addr(), Some(addr));
        assert_eq!(accepted.peer_addr(), Some(addr));
        assert_eq!(connected.peer_addr(), Some(listener.local_addr()));
        for stream in [&connected, &accepted] {
            assert!(stream.duplex.socket().tcp_nodelay().unwrap());
            assert!(stream.duplex.socket().keepalive().unwrap(), "a peer that vanishes is noticed");
            assert!(closes_on_exec(stream.raw_fd()));
        }
        let (written, _) = connected.write_all(b"hi".to_vec(), crate::WriteRate::until(soon())).await;
        written.unwrap();
        assert_eq!(accepted.read(buf(), soon()).await.1, b"hi");
    });
}

#[test]
fn two_listeners_share_a_port() {
    on_both_drivers(|| async {
        let first = listener();
        let _second = Listener::from_std(bind_reuseport(first.local_addr(), 1).unwrap()).unwrap();
    });
}

/// Connections in the kernel's queue are served, not reset, when a listener stops.
#[test]
fn a_stopped_listener_returns_queued_connections() {
    on_both_drivers(|| async {
        let listener = listener();
        let (ended, ()) = join(listener.accept(), async { listener.stop() }).await;
        assert_eq!(kind(ended), ErrorKind::Interrupted);
        let peers: Vec<_> = (0..3).map(|_| StdStream::connect(listener.local_addr()).unwrap()).collect();
        assert_eq!(kind(listener.accept().await), ErrorKind::Interrupted, "stopped for good");
        let mut accepted = Vec::new();
        while let Some(one) = listener.take_now() {
            assert!(peers.iter().any(|peer| peer.local_addr().unwrap() == one.peer()));
            accepted.push(one);
        }
        assert_eq!(accepted.len(), peers.len());
        let addr = listener.local_addr();
        drop(listener);
        // Closed by the ring, after its pending wait.
        let deadline = soon();
        while StdStream::connect(addr).is_ok() {
            assert!(clock::now() < deadline, "a dropped listener swallows connections");
            crate::yield_now().await;
        }
    });
}

/// More connections than a batch: the accept loop yields and loses none.
#[test]
fn a_flood_of_connections_is_accepted_in_batches() {
    on_both_drivers(|| async {
        let listener = Listener::from_std(bind_reuseport(any_port(), 256).unwrap()).unwrap();
        let peers: Vec<_> = (0..150).map(|_| StdStream::connect(listener.local_addr()).unwrap()).collect();
        let mut accepted = Vec::new();
        for _ in &peers {
            accepted.push(listener.accept().await.unwrap());
        }
        assert!(listener.take_now().is_none());
    });
}

#[test]
fn an_accepted_connection_can_be_served_on_another_thread() {
    on_both_drivers(|| async {
        let listener = listener();
        let mut peer = StdStream::connect(listener.local_addr()).unwrap();
        let accepted = listener.take().await.unwrap();
        assert_eq!(accepted.peer(), peer.local_addr().unwrap());
        let other = std::thread::spawn(move || {
            let serve = |_| async {
                let stream = accepted.adopt().unwrap();
                assert!(stream.duplex.socket().nonblocking().unwrap());
                stream.write_all(b"hi".to_vec(), crate::WriteRate::until(soon())).await.0.unwrap();
                stream.peer_addr()
            };
            crate::run(crate::RuntimeOptions::default(), serve).unwrap()
        });
        assert_eq!(other.join().unwrap(), peer.local_addr().ok());
        let mut said = Vec::new();
        peer.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"hi");
    });
}

#[test]
fn an_accepted_connection_is_closed_on_drop() {
    on_both_drivers(|| async {
        let listener = listener();
        let mut peer = StdStream::connect(listener.local_addr()).unwrap();
        drop(listener.take().await.unwrap());
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn an_aborted_connection_does_not_end_the_listener() {
    on_both_drivers(|| async {
        let listener = listener();
        let gone = StdStream::connect(listener.local_addr()).unwrap();
        socket2::SockRef::from(&gone).set_linger(Some(Duration::ZERO)).unwrap();
        drop(gone);
        let _peer = StdStream::connect(listener.local_addr()).unwrap();
        listener.accept().await.unwrap();
    });
}

#[test]
fn connecting_to_a_closed_port_is_refused() {
    on_both_drivers(|| async {
        let unused = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
        assert_eq!(kind(connect(unused, soon()).await), ErrorKind::ConnectionRefused);
    });
}

/// A listener with a full queue drops packets: to the client it is a black hole.
#[test]
fn connecting_into_a_black_hole_times_out() {
    on_both_drivers(|| async {
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        full.bind(&any_port().into()).unwrap();
        full.listen(0).unwrap();
        let addr = full.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        for _ in 0..8 {
            match connect(addr, within(Duration::from_millis(20))).await {
                Ok(stream) => queued.push(stream),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::TimedOut);
                    return;
                }
            }
        }
        panic!("a listener with a backlog of 0 took {} connections", queued.len());
    });
}

#[test]
fn unix_sockets_carry_the_same_streams() {
    on_both_drivers(|| async {
        let path = std::env::temp_dir().join(format!("ringway-net-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener =
            UnixListener::from_std(std::os::unix::net::UnixListener::bind(&path).unwrap()).unwrap();
        let mut peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let stream: UnixStream = listener.accept().await.unwrap();
        peer.write_all(b"ping").unwrap();
        let (_, mut buf) = stream.read(buf(), soon()).await;
        buf.reverse();
        stream.write_all(buf, crate::WriteRate::until(soon())).await.0.unwrap();
        let mut reply = [0; 4];
        peer.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"gnip");
        assert_eq!(
            kind(stream.read(Vec::with_capacity(1), within(Duration::from_millis(5))).await.0),
            ErrorKind::TimedOut
        );
        listener.stop();
        assert_eq!(kind(listener.accept().await), ErrorKind::Interrupted);
        assert!(listener.accept_now().is_none());
    });
}

#[test]
fn accept_pauses_without_descriptors_and_recovers() {
    in_a_process_of_its_own("tests::connections::exhausts_its_descriptors", &[]);
}

#[test]
#[ignore = "lowers the limit of the whole process: started by the test above"]
fn exhausts_its_descriptors() {
    on_both_drivers(|| async {
        let listener = listener();
        let _peer = StdStream::connect(listener.local_addr()).unwrap();
        lower_descriptor_limit(200);
        let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).take(1000).collect();
        for _ in 0..3 {
            let error = listener.accept().await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        }
        // The other tasks of the core ran meanwhile, and accepting goes on.
        sleep(Duration::from_millis(1)).await;
        files.clear();
        listener.accept().await.unwrap();
    });
}

fn lower_descriptor_limit(limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: the kernel reads the structure, which outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

fn closes_on_exec(fd: i32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    i32::from_str_radix(flags.trim(), 8).unwrap() & libc::O_CLOEXEC != 0
}

/// A listener that shares its port counts too.
#[test]
fn an_address_is_free_until_it_has_a_listener() {
    let first = bind_reuseport(any_port(), 1).unwrap();
    let address = first.local_addr().unwrap();
    assert_eq!(check_free(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(first);
    check_free(address).unwrap();
    check_free(any_port()).unwrap();
}

/// Addresses that the kernel still releases are retried; other errors are not.
#[test]
fn an_address_in_use_is_retried() {
    let mut answers = vec![Ok(7), Err(ErrorKind::AddrInUse), Err(ErrorKind::AddrInUse)];
    assert_eq!(retry_in_use(|| answers.pop().unwrap().map_err(Into::into)).unwrap(), 7);
    let mut answers = vec![Err(ErrorKind::PermissionDenied)];
    let refused = retry_in_use(|| answers.pop().unwrap().map(|(): ()| ()).map_err(Into::into));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[test]
fn a_unix_peer_has_the_user_of_its_process() {
    on_both_drivers(|| async {
        use std::os::unix::fs::MetadataExt;
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let uid = std::fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(UnixStream::from_std(ours).unwrap().peer_uid().unwrap(), uid);
    });
}
