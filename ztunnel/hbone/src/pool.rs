//! The client side: connections kept by source, destination and expected peer; one stream each for a connection of an application.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use h2::Reason;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use warren_core::Identity;

use crate::Limits;
use crate::early::Early;
use crate::error::{HandshakeError, OpenError};
use crate::headers::EARLY_DATA;
use crate::tls::{Accepted, Encrypted, Expect};
use crate::tunnel::H2Tunnel;

mod conn;

use conn::{Conn, Lease};

/// What has to be equal for two streams to share a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// As whom we speak.
    pub source: Identity,
    /// The source pod: its socket makes the connection, so pods never share one.
    pub pod: Arc<str>,
    /// Streams of different lanes never share a connection, so that each may have a thread of its own.
    pub lane: usize,
    /// The peer's HBONE address.
    pub destination: SocketAddr,
    /// Who has to be there.
    pub expect: Expect,
}

/// The head of a CONNECT request.
#[derive(Clone, Debug)]
pub struct ConnectHead {
    /// `:authority`, an address or name with a port.
    pub authority: String,
    /// baggage, forwarded, traceparent.
    pub headers: HeaderMap,
}

/// A stream that was opened, and the peer's answer.
pub struct Opened {
    /// The stream.
    pub tunnel: H2Tunnel,
    /// Headers of the 200.
    pub headers: HeaderMap,
    /// Who answered.
    pub peer: Identity,
}

/// Connections to peers. Clones share them.
#[derive(Clone)]
pub struct Pool {
    limits: Arc<Limits>,
    slots: Arc<Mutex<HashMap<PoolKey, Arc<Slot>>>>,
}

#[derive(Default)]
struct Slot {
    conns: Mutex<Vec<Arc<Conn>>>,
    /// Held while dialling. Inside: when the last dial failed, and how.
    dialling: tokio::sync::Mutex<Option<(Instant, OpenError)>>,
}

impl Pool {
    /// An empty pool.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Arc::new(limits),
            slots: Arc::default(),
        }
    }

    /// Opens a stream, over a connection that exists or one that `dial` makes. At most one dial for a key is under way;
    /// those who wait for it share its failure.
    ///
    /// A pooled connection that turns out to be closing is replaced once. What `early` has goes with the request if the
    /// peer takes it; the caller goes on reading there.
    pub async fn open<I, F, D, S>(
        &self,
        key: &PoolKey,
        head: &ConnectHead,
        early: &mut Early<S>,
        dial: D,
    ) -> Result<Opened, OpenError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Result<Accepted<Encrypted<I>>, OpenError>>,
        D: Fn() -> F,
        S: AsyncRead + Unpin,
    {
        let slot = self.slots.lock().entry(key.clone()).or_default().clone();
        let (lease, reused) = self.lease(key, &slot, &dial).await?;
        match self.request(lease, head, early).await {
            Err(OpenError::Broken(_)) if reused => {
                let (lease, _) = self.lease(key, &slot, &dial).await?;
                self.request(lease, head, early).await
            }
            other => other,
        }
    }

    /// Forgets the connections that `keep` does not want; their streams go on until they end, and each connection with its last stream.
    pub fn retain(&self, mut keep: impl FnMut(&PoolKey) -> bool) {
        self.slots.lock().retain(|key, slot| {
            let kept = keep(key);
            if !kept {
                slot.conns.lock().iter().for_each(|c| c.retire());
            }
            kept
        });
    }

    /// Connections and streams at this moment.
    pub fn size(&self) -> (usize, usize) {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        let (mut conns, mut streams) = (0, 0);
        for slot in slots {
            for c in slot.conns.lock().iter() {
                conns += 1;
                streams += c.streams();
            }
        }
        (conns, streams)
    }

    async fn lease<I, F, D>(
        &self,
        key: &PoolKey,
        slot: &Arc<Slot>,
        dial: &D,
    ) -> Result<(Lease, bool), OpenError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Result<Accepted<Encrypted<I>>, OpenError>>,
        D: Fn() -> F,
    {
        if let Some(lease) = self.existing(slot) {
            return Ok((lease, true));
        }
        let arrived = Instant::now();
        let mut last_failure = slot.dialling.lock().await;
        if let Some(lease) = self.existing(slot) {
            return Ok((lease, true));
        }
        if let Some((at, error)) = &*last_failure
            && *at >= arrived
        {
            return Err(error.clone());
        }
        match self.connect(key, slot, dial).await {
            Ok(lease) => {
                *last_failure = None;
                Ok((lease, false))
            }
            Err(error) => {
                *last_failure = Some((Instant::now(), error.clone()));
                drop(last_failure);
                self.forget_if_empty(key, slot);
                Err(error)
            }
        }
    }

    fn existing(&self, slot: &Slot) -> Option<Lease> {
        let mut conns = slot.conns.lock();
        conns.retain(|c| {
            if !c.is_open() {
                c.retire();
            }
            c.is_open()
        });
        conns
            .iter()
            .find_map(|c| c.lease(self.limits.streams_per_connection))
    }

    async fn connect<I, F, D>(
        &self,
        key: &PoolKey,
        slot: &Arc<Slot>,
        dial: &D,
    ) -> Result<Lease, OpenError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Result<Accepted<Encrypted<I>>, OpenError>>,
        D: Fn() -> F,
    {
        let accepted = dial().await?;
        let (conn, driver) = timeout(self.limits.handshake, Conn::new(accepted, &self.limits))
            .await
            .map_err(|_| HandshakeError::Timeout)??;
        let lease = conn
            .lease(self.limits.streams_per_connection)
            .ok_or(HandshakeError::Http2("the peer admits no streams".into()))?;
        slot.conns.lock().push(conn.clone());
        let (pool, key, slot) = (self.clone(), key.clone(), slot.clone());
        tokio::spawn(async move {
            driver.await;
            slot.conns.lock().retain(|c| !Arc::ptr_eq(c, &conn));
            pool.forget_if_empty(&key, &slot);
        });
        Ok(lease)
    }

    /// A slot in use by somebody else has more owners than the map and the caller; it stays.
    fn forget_if_empty(&self, key: &PoolKey, slot: &Arc<Slot>) {
        let mut slots = self.slots.lock();
        let same = slots.get(key).is_some_and(|s| Arc::ptr_eq(s, slot));
        if same && Arc::strong_count(slot) <= 2 && slot.conns.lock().is_empty() {
            slots.remove(key);
        }
    }

    async fn request<S: AsyncRead + Unpin>(
        &self,
        lease: Lease,
        head: &ConnectHead,
        early: &mut Early<S>,
    ) -> Result<Opened, OpenError> {
        let opened = timeout(self.limits.response, request(lease, head, early))
            .await
            .unwrap_or(Err(OpenError::Timeout));
        if opened.is_err() {
            early.mark_sent(false);
        }
        opened
    }
}

async fn request<S: AsyncRead + Unpin>(
    lease: Lease,
    head: &ConnectHead,
    early: &mut Early<S>,
) -> Result<Opened, OpenError> {
    let broken = |e: h2::Error| lease.conn().explain(e);
    let uri = Uri::builder()
        .authority(head.authority.as_str())
        .build()
        .map_err(|e| OpenError::Broken(format!("`{}` is not an authority: {e}", head.authority)))?;
    let mut req = Request::new(());
    *req.method_mut() = Method::CONNECT;
    *req.uri_mut() = uri;
    *req.headers_mut() = head.headers.clone();
    let sends_early = lease.conn().takes_early_data();
    if sends_early {
        req.headers_mut()
            .insert(EARLY_DATA, HeaderValue::from_static("1"));
    }
    let mut sender = lease.sender().ready().await.map_err(broken)?;
    let (response, mut send) = sender.send_request(req, false).map_err(broken)?;
    let mut response = pin!(response);
    let mut answer = None;
    if sends_early {
        tokio::select! {
            biased;
            a = &mut response => answer = Some(a),
            first = early.first() => {
                send.send_data(first, false).map_err(broken)?;
                early.mark_sent(true);
            }
        }
    }
    let answer = match answer {
        Some(answer) => answer,
        None => response.await,
    };
    // A refused stream was not looked at (RFC 9113 §8.7). One that was reset otherwise may have reached the application.
    let response = answer.map_err(|e| {
        let refused = e.reason() == Some(Reason::REFUSED_STREAM);
        if refused || (early.sent() == 0 && !e.is_reset()) {
            broken(e)
        } else {
            OpenError::Lost(e.to_string())
        }
    })?;
    lease.conn().learn(response.headers());
    if response.status() != StatusCode::OK {
        return Err(OpenError::Status(response.status()));
    }
    let (parts, recv) = response.into_parts();
    let (peer, turns) = (lease.conn().peer.clone(), lease.conn().turns.clone());
    Ok(Opened {
        tunnel: H2Tunnel::client(send, recv, turns, Box::new(lease.into_seat())),
        headers: parts.headers,
        peer,
    })
}
