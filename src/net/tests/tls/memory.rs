//! Memory of a connection.

use super::*;
use crate::tests::allocations::{allocations, live_bytes};
use std::io::{Read, Write};

#[test]
fn an_idle_connection_holds_little_memory() {
    on_both_drivers(|| async {
        const CONNECTIONS: usize = 20;
        let (server, client) = server(BOTH);
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        let mut before = 0;
        for number in 0..CONNECTIONS + 1 {
            // The first connection allocates the shared parts.
            if number == 1 {
                before = live_bytes();
            }
            let (stream, peer) = pair();
            let client = Arc::clone(&client);
            let peer = thread::spawn(move || {
                let mut peer = shaken(client_on(peer, client)).unwrap();
                // A full record makes buffers grow.
                peer.write_all(&[7; 16 << 10]).unwrap();
                peer.read_exact(&mut [0; 16 << 10]).unwrap();
                peer
            });
            let hello = read_hello(stream, soon()).await.unwrap();
            let stream = hello.finish(Arc::clone(&server), soon()).await.unwrap();
            read_bytes(&stream, 16 << 10).await;
            write(&stream, &[7; 16 << 10]).await;
            let peer = joined(peer).await;
            assert_eq!(
                kind(stream.readable(within(Duration::from_millis(1))).await),
                io::ErrorKind::TimedOut
            );
            ours.push(stream);
            peers.push(peer);
        }
        let each = (live_bytes() - before) / CONNECTIONS as i64;
        println!("{each} bytes for each idle connection");
        assert!(each < 12 << 10, "{each} bytes");
    });
}

#[test]
fn a_warm_connection_allocates_what_rustls_needs_for_a_record() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
        let echo = thread::spawn(move || {
            let mut chunk = [0; 256];
            while let Ok(count @ 1..) = peer.read(&mut chunk) {
                peer.write_all(&chunk[..count]).unwrap();
            }
        });
        let mut buf = buf();
        let mut before = 0;
        for round in 0..200 {
            if round == 100 {
                before = allocations();
            }
            buf.clear();
            buf.extend_from_slice(b"ping");
            let (written, back) = ours.write_all(buf, WriteRate::stall(PATIENCE)).await;
            written.unwrap();
            ours.readable(soon()).await.unwrap();
            let (read, back) = ours.read(back, soon()).await;
            assert_eq!(read.unwrap(), 4);
            buf = back;
        }
        let each = (allocations() - before) as f64 / 100.0;
        println!("{each} allocations for one record each way");
        assert!(each <= 4.0, "{each}");
        drop(ours);
        joined(echo).await;
    });
}
