//! A link to the API server that can be slow, and cut.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that a slow link takes at a time.
const PIECE: usize = 4096;

pub struct Link {
    pub port: u16,
    up: Arc<watch::Sender<bool>>,
    pause: Arc<watch::Sender<Duration>>,
}

impl Link {
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("address").port();
        let up = Arc::new(watch::Sender::new(true));
        let pause = Arc::new(watch::Sender::new(Duration::ZERO));
        let link = Self {
            port,
            up: up.clone(),
            pause: pause.clone(),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, up.subscribe(), pause.subscribe()));
            }
        });
        link
    }

    /// Ends all connections and refuses new ones.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Lets every few bytes of either direction wait so long, until another pause is set.
    pub fn slow(&self, pause: Duration) {
        self.pause.send_replace(pause);
    }

    pub fn mend(&self) {
        self.up.send_replace(true);
    }
}

async fn carry(
    mut client: TcpStream,
    target: u16,
    mut up: watch::Receiver<bool>,
    pause: watch::Receiver<Duration>,
) {
    if !*up.borrow_and_update() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    let (mut asks, mut takes) = client.split();
    let (mut answers, mut hears) = server.split();
    tokio::select! {
        _ = pass(&mut asks, &mut hears, pause.clone()) => {}
        _ = pass(&mut answers, &mut takes, pause) => {}
        _ = up.wait_for(|up| !up) => {}
    }
}

/// Until one end has closed: the API server and its clients close both directions at once.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut pause: watch::Receiver<Duration>,
) -> std::io::Result<()> {
    let mut piece = [0; PIECE];
    loop {
        let n = from.read(&mut piece).await?;
        if n == 0 {
            return Ok(());
        }
        let long = *pause.borrow_and_update();
        if !long.is_zero() {
            let _ = tokio::time::timeout(long, pause.changed()).await;
        }
        to.write_all(&piece[..n]).await?;
    }
}
