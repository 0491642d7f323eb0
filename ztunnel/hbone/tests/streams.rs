//! What travels through a tunnel: bytes, ends, resets.

mod support;

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use support::{Ca, Client, Server, id, spiffe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use warren_hbone::{Expect, OpenError};

struct World {
    server: Server,
    client: Client,
    app: TcpListener,
}

async fn world() -> World {
    let ca = Ca::new();
    let server = Server::start(&ca, ca.issue(&spiffe("web"))).await;
    let client = Client::new(&ca, ca.issue(&spiffe("shopper")), Expect::one(id("web")));
    World {
        server,
        client,
        app: TcpListener::bind("127.0.0.1:0").await.unwrap(),
    }
}

impl World {
    /// Both ends of a tunnelled connection: (client's, server application's).
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let client = self
            .client
            .tunnel(self.server.addr, self.app.local_addr().unwrap())
            .await;
        let (server, _) = self.app.accept().await.unwrap();
        (client, server)
    }
}

/// Bytes that repeat only after a long while, and differ by seed.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_byte_each_way() {
    let w = world().await;
    let (mut client, mut server) = w.pair().await;
    client.write_all(b"a").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'a');
    server.write_all(b"b").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'b');
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_both_ways_at_once() {
    let w = world().await;
    let (client, server) = w.pair().await;
    let exchange = |s: TcpStream, seed: u64| {
        tokio::spawn(async move {
            let (mut r, mut wr) = s.into_split();
            let send = tokio::spawn(async move {
                wr.write_all(&pattern(64 << 20, seed)).await.unwrap();
                wr.shutdown().await.unwrap();
            });
            let mut got = Vec::new();
            r.read_to_end(&mut got).await.unwrap();
            send.await.unwrap();
            got
        })
    };
    let (c, s) = (exchange(client, 7), exchange(server, 9));
    assert!(
        c.await.unwrap() == pattern(64 << 20, 9),
        "client received other bytes"
    );
    assert!(
        s.await.unwrap() == pattern(64 << 20, 7),
        "server received other bytes"
    );
}

#[tokio::test]
async fn the_client_may_end_its_direction_first() {
    let w = world().await;
    let (mut client, mut server) = w.pair().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = String::new();
    server.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "answer");
}

#[tokio::test]
async fn the_server_may_end_its_direction_first() {
    let w = world().await;
    let (mut client, mut server) = w.pair().await;
    server.write_all(b"banner").await.unwrap();
    server.shutdown().await.unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "banner");
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = String::new();
    server.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "late");
}

#[tokio::test]
async fn a_reset_passes_through() {
    let w = world().await;
    for server_resets in [true, false] {
        let (client, server) = w.pair().await;
        let (resetting, mut other) = if server_resets {
            (server, client)
        } else {
            (client, server)
        };
        support::reset(&resetting);
        drop(resetting);
        let e = timeout(Duration::from_secs(5), other.read_u8())
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(
            e.kind(),
            ErrorKind::ConnectionReset,
            "server_resets={server_resets}"
        );
    }
}

/// A server that closes with bytes unread, such as one that refuses a long upload: its kernel sends a reset right behind the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_said_before_its_reset_arrives() {
    let w = world().await;
    for round in 0..60 {
        let (mut client, mut server) = w.pair().await;
        let upload = vec![1; if round % 2 == 0 { 64 << 10 } else { 1 << 20 }];
        let (mut hears, mut says) = client.split();
        let serve = async move {
            server.read_exact(&mut [0; 1000]).await.unwrap();
            server.write_all(b"no").await.unwrap();
        };
        let mut answer = Vec::new();
        // The reset is told to one of the two, whichever is first.
        let all = async {
            tokio::join!(
                says.write_all(&upload),
                hears.read_to_end(&mut answer),
                serve
            )
        };
        let end = timeout(Duration::from_secs(3), all).await.expect("an end");
        assert_eq!(answer, b"no", "round {round}: {end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_said_before_its_reset_arrives() {
    let w = world().await;
    for round in 0..60 {
        let (mut client, mut server) = w.pair().await;
        client.write_all(b"last").await.unwrap();
        support::reset(&client);
        drop(client);
        let mut heard = Vec::new();
        let end = timeout(Duration::from_secs(3), server.read_to_end(&mut heard));
        let end = end.await.expect("an end");
        assert_eq!(heard, b"last", "round {round}: {end:?}");
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

/// The server end of a connection of which the client has sent nothing yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_up_at_once_has_answered() {
    let w = world().await;
    let to = w.app.local_addr().unwrap().to_string();
    // The first request teaches the client that the server takes early data, and holds its answers.
    for round in 0..30 {
        let mut local = silent().await;
        let open = w.client.open_with(w.server.addr, &to, &mut local);
        let hang_up = async {
            let (server, _) = w.app.accept().await.unwrap();
            support::reset(&server);
        };
        let (opened, ()) = tokio::join!(open, hang_up);
        match opened {
            Ok(_) | Err(OpenError::Status(StatusCode::BAD_GATEWAY)) => {}
            Err(e) => panic!("round {round}: {e}"),
        }
    }
}

/// A local socket whose application says nothing.
async fn silent() -> warren_hbone::Early<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (local, _) = listener.accept().await.unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(app);
    });
    warren_hbone::Early::new(local)
}

#[tokio::test]
async fn a_slow_reader_holds_the_writer_back() {
    let w = world().await;
    let (mut client, mut server) = w.pair().await;
    let data = vec![1u8; 1 << 20];
    let mut sent = 0usize;
    while let Ok(r) = timeout(Duration::from_millis(500), client.write_all(&data)).await {
        r.unwrap();
        sent += data.len();
        assert!(
            sent < 64 << 20,
            "the tunnel took {sent} bytes that nobody read"
        );
    }
    let mut buf = vec![0; 1 << 20];
    server.read_exact(&mut buf).await.unwrap();
    assert!(buf == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_pause_hold_nobody_else_up() {
    let w = world().await;
    let mut paused = Vec::new();
    for server_sends in [true, false].repeat(8) {
        let (client, server) = w.pair().await;
        let (mut sender, receiver) = if server_sends {
            (server, client)
        } else {
            (client, server)
        };
        let filling = async {
            let data = vec![1u8; 1 << 20];
            while timeout(Duration::from_millis(200), sender.write_all(&data))
                .await
                .is_ok()
            {}
        };
        filling.await;
        paused.push((sender, receiver));
    }
    assert_eq!(w.client.pool.size(), (1, 16), "all on one connection");
    let (mut client, mut server) = w.pair().await;
    let exchange = async {
        for _ in 0..100 {
            client.write_all(&[7; 50_000]).await.unwrap();
            let mut buf = [0; 50_000];
            server.read_exact(&mut buf).await.unwrap();
            server.write_all(&buf).await.unwrap();
            client.read_exact(&mut buf).await.unwrap();
        }
    };
    timeout(Duration::from_secs(20), exchange)
        .await
        .expect("goes on");
}

#[tokio::test]
async fn streams_share_a_connection_up_to_the_limit() {
    let mut w = world().await;
    w.client.pool = warren_hbone::Pool::new(warren_hbone::Limits {
        streams_per_connection: 3,
        ..support::limits()
    });
    let mut pairs = Vec::new();
    for _ in 0..4 {
        pairs.push(w.pair().await);
    }
    assert_eq!(w.client.pool.size(), (2, 4));
    assert_eq!(w.server.connections.load(Ordering::SeqCst), 2);
    pairs.clear();
    let until_free = async {
        while w.client.pool.size().1 > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), until_free)
        .await
        .expect("places are given back");
    let _pair = w.pair().await;
    assert_eq!(w.client.pool.size(), (2, 1));
}

#[tokio::test]
async fn simultaneous_first_streams_make_one_connection() {
    let w = world().await;
    let authority = w.app.local_addr().unwrap().to_string();
    let opens = (0..50).map(|_| w.client.open(w.server.addr, &authority));
    let opened: Vec<_> = futures_util::future::join_all(opens).await;
    assert!(opened.iter().all(Result::is_ok));
    assert_eq!(w.server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_new_one_made() {
    let mut w = world().await;
    let short = warren_hbone::Limits {
        idle: Duration::from_millis(200),
        ..support::limits()
    };
    w.client.pool = warren_hbone::Pool::new(short);
    drop(w.pair().await);
    let end = timeout(Duration::from_secs(5), w.server.ends.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(end.is_ok(), "an idle connection ends cleanly: {end:?}");
    let (mut client, mut server) = w.pair().await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn drain_lets_streams_finish_and_then_ends() {
    let mut w = world().await;
    let (mut client, mut server) = w.pair().await;
    w.server.drain.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.write_all(b"still here").await.unwrap();
    let mut buf = [0; 10];
    server.read_exact(&mut buf).await.unwrap();
    assert_eq!(&buf, b"still here");
    // The stream does not end by itself, so the limit ends it.
    let e = timeout(Duration::from_secs(3), client.read_u8())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ConnectionReset);
    timeout(Duration::from_secs(3), w.server.ends.recv())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn drain_ends_an_idle_connection_at_once() {
    let mut w = world().await;
    drop(w.pair().await);
    let none_left = async {
        while w.client.pool.size().1 > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(5), none_left).await.unwrap();
    w.server.drain.send(true).unwrap();
    let end = timeout(Duration::from_millis(400), w.server.ends.recv()).await;
    end.expect("before the limit").unwrap().unwrap();
}

#[tokio::test]
async fn a_port_without_a_listener_answers_503() {
    let w = world().await;
    let closed = w.app.local_addr().unwrap();
    drop(w.app);
    let e = w
        .client
        .open(w.server.addr, &closed.to_string())
        .await
        .err()
        .unwrap();
    assert!(matches!(e, OpenError::Status(s) if s == 503), "{e:?}");
    assert!(e.is_retryable());
}

#[tokio::test]
async fn a_refused_dial_is_shared_by_those_who_wait() {
    let w = world().await;
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let opens = (0..20).map(|_| w.client.open(gone, "127.0.0.1:1"));
    for r in futures_util::future::join_all(opens).await {
        let e = r.err().unwrap();
        assert!(
            matches!(
                &e,
                OpenError::Connect {
                    kind: ErrorKind::ConnectionRefused,
                    ..
                }
            ),
            "{e:?}"
        );
    }
    assert_eq!(w.client.pool.size(), (0, 0));
}
