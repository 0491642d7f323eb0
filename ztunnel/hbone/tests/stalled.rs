//! Hundreds of streams whose readers stall: they hold little memory together, hold nobody up, and lose nothing.
//!
//! One test for both directions, alone in its process: what it is about is shared by all connections of a process.

mod support;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use support::{Ca, Client, id, spiffe};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use warren_hbone::{
    ConnectRequest, Counters, Expect, Handler, Limits, Pool, Trust, Tunnel, WorkloadCert, copy,
    serve, tls,
};

const MIB: usize = 1 << 20;
/// Streams with full windows, and their size.
const EARLY: usize = 64;
const EARLY_BYTES: usize = 5 * MIB;
/// All streams, and the size of the others.
const ALL: usize = 300;
const LATE_BYTES: usize = 2 * MIB;
const SCARCE_WINDOW: usize = 256 << 10;
const PIPE: usize = 64 << 10;

/// The application's end of a copy.
struct End {
    app: DuplexStream,
    counters: Arc<Counters>,
}

impl End {
    fn of<T: Tunnel + 'static>(mut tunnel: T) -> Self {
        let (app, mut local) = duplex(PIPE);
        let counters = Arc::new(Counters::default());
        let count = counters.clone();
        tokio::spawn(async move { copy(&mut local, &mut tunnel, &count).await });
        Self { app, counters }
    }
}

struct Hand(mpsc::UnboundedSender<End>);

impl Handler for Hand {
    fn connect(&self, request: ConnectRequest) {
        let tunnel = request.accept(HeaderValue::from_static("k=v")).unwrap();
        self.0.send(End::of(tunnel)).unwrap();
    }

    fn malformed(&self, why: &'static str) {
        panic!("{why}");
    }
}

struct World {
    client: Client,
    server: SocketAddr,
    served: mpsc::UnboundedReceiver<End>,
}

fn limits() -> Limits {
    Limits {
        streams_per_connection: 400,
        ..Limits::default()
    }
}

async fn world() -> World {
    let ca = Ca::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let (hand, served) = mpsc::unbounded_channel();
    tokio::spawn(run(
        listener,
        ca.trust(),
        ca.issue(&spiffe("web")),
        Hand(hand),
    ));
    let mut client = Client::new(&ca, ca.issue(&spiffe("shopper")), Expect::one(id("web")));
    client.limits = limits();
    client.pool = Pool::new(limits());
    World {
        client,
        server,
        served,
    }
}

/// One connection is all that is needed.
async fn run(listener: TcpListener, trust: Arc<Trust>, cert: WorkloadCert, hand: Hand) {
    let (tcp, _) = listener.accept().await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let accepted = tls::accept(tcp, &cert, &trust, limits().handshake)
        .await
        .unwrap();
    serve(accepted.stream, &limits(), std::future::pending(), &hand)
        .await
        .unwrap();
}

/// Streams with a sender and a reader each.
struct Streams {
    data: Arc<Vec<u8>>,
    senders: Vec<(JoinHandle<()>, Arc<Counters>)>,
    readers: Vec<(End, Range<usize>)>,
}

impl Streams {
    fn new() -> Self {
        let mut x = 7u64;
        let data = (0..EARLY_BYTES + ALL).map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        });
        Self {
            data: Arc::new(data.collect()),
            senders: Vec::new(),
            readers: Vec::new(),
        }
    }

    /// Sends `len` bytes, others than in any other stream, to a reader that does not read.
    fn add(&mut self, sender: End, reader: End, len: usize) {
        let n = self.senders.len();
        let (data, range) = (self.data.clone(), n..n + len);
        let (mut app, sent) = (sender.app, range.clone());
        let task = tokio::spawn(async move {
            app.write_all(&data[sent]).await.unwrap();
            app.shutdown().await.unwrap();
            // The other direction goes on until the reader ends it.
            assert_eq!(app.read(&mut [0]).await.unwrap(), 0);
        });
        self.senders.push((task, sender.counters));
        self.readers.push((reader, range));
    }

    fn held(&self) -> usize {
        let sent = self.senders.iter().map(|(_, c)| c.read().0);
        let passed_on = self.readers.iter().map(|(r, _)| r.counters.read().1);
        (sent.sum::<u64>() - passed_on.sum::<u64>()) as usize
    }

    /// Bytes within the tunnel, once they do not become more.
    async fn settled(&self) -> usize {
        let mut last = 0;
        loop {
            sleep(Duration::from_millis(700)).await;
            let now = self.held();
            if now == last {
                return now;
            }
            last = now;
        }
    }

    async fn read_all(self) {
        let mut reading = Vec::new();
        for (reader, range) in self.readers {
            let data = self.data.clone();
            reading.push(tokio::spawn(async move {
                let (mut app, mut got) = (reader.app, Vec::new());
                app.read_to_end(&mut got).await.unwrap();
                assert!(got == data[range.clone()], "{range:?}: other bytes");
            }));
        }
        for task in reading {
            timeout(Duration::from_secs(120), task)
                .await
                .expect("goes on")
                .unwrap();
        }
        for (task, _) in self.senders {
            task.await.unwrap();
        }
    }
}

impl World {
    /// (client's end, server's end)
    async fn pair(&mut self) -> (End, End) {
        let opened = self.client.open(self.server, "10.0.0.1:80").await.unwrap();
        let server = self.served.recv().await.unwrap();
        (End::of(opened.tunnel), server)
    }

    async fn stall(&mut self, to: &mut Streams, download: bool, count: usize, len: usize) {
        for _ in 0..count {
            let (client, server) = self.pair().await;
            let (sender, reader) = if download {
                (server, client)
            } else {
                (client, server)
            };
            to.add(sender, reader, len);
        }
    }

    async fn memory_is_bounded(&mut self, download: bool) {
        let mut before = self.pair().await;
        let mut streams = Streams::new();
        self.stall(&mut streams, download, EARLY, EARLY_BYTES).await;
        let ample = streams.settled().await;
        assert!(
            ample >= EARLY * 3 * MIB,
            "download={download}: full windows for few streams, not {ample}"
        );
        self.stall(&mut streams, download, ALL - EARLY, LATE_BYTES)
            .await;
        let held = streams.settled().await;
        let limit = EARLY * 4 * MIB + ALL * SCARCE_WINDOW;
        assert!(held < limit, "download={download}: {held} of {limit}");

        let mut after = self.pair().await;
        for pair in [&mut before, &mut after] {
            timeout(Duration::from_secs(5), exchange(pair))
                .await
                .expect("others go on");
        }
        drop((before, after));
        streams.read_all().await;

        // Room again for full windows, a second later.
        sleep(Duration::from_millis(1500)).await;
        let mut streams = Streams::new();
        self.stall(&mut streams, download, 1, EARLY_BYTES).await;
        let held = streams.settled().await;
        assert!(held >= 3 * MIB, "download={download}: only {held} again");
        streams.read_all().await;
        assert_eq!(self.client.pool.size().0, 1, "all on one connection");
    }
}

async fn exchange((client, server): &mut (End, End)) {
    let mut buf = vec![0; 50_000];
    for n in 0..20 {
        client.app.write_all(&[n; 50_000]).await.unwrap();
        server.app.read_exact(&mut buf).await.unwrap();
        server.app.write_all(&buf).await.unwrap();
        client.app.read_exact(&mut buf).await.unwrap();
        assert!(buf.iter().all(|b| *b == n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_stalled_streams_hold_little_memory_and_lose_nothing() {
    let mut world = world().await;
    for download in [true, false] {
        world.memory_is_bounded(download).await;
    }
}
