//! A stream of an HTTP/2 connection as a tunnel.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Response;
use tokio::time::{Sleep, sleep};

use super::Tunnel;
use crate::error::TunnelError;
use crate::turns::Turns;

/// How long an answer waits for the application's first bytes, to travel with them.
const PATIENCE: Duration = Duration::from_millis(1);
/// A client that sent more with its request may have more to send, and waits for the answer.
const SMALL: usize = 4 << 10;

/// A stream of an HTTP/2 connection, after CONNECT was or is about to be answered with 200.
pub struct H2Tunnel {
    send: Sender,
    recv: RecvStream,
    turns: Arc<Turns>,
    /// How many of them had begun when something was sent last.
    sent: Option<u64>,
    /// Keeps the place in the pool's count for as long as the stream lives.
    place: Option<Box<dyn Place>>,
}

/// A place among the streams of a pooled connection, held until dropped.
pub(crate) trait Place: Send + Sync {
    /// Ends a stream of which the other direction has ended before: nobody waits for it.
    fn farewell(self: Box<Self>, stream: SendStream<Bytes>);
}

enum Sender {
    Open(SendStream<Bytes>),
    Held(Box<Held>),
    Ended,
}

/// An answer that was not sent yet.
struct Held {
    respond: SendResponse<Bytes>,
    answer: Response<()>,
    patience: Pin<Box<Sleep>>,
    received: usize,
}

impl H2Tunnel {
    pub(crate) fn client(
        send: SendStream<Bytes>,
        recv: RecvStream,
        turns: Arc<Turns>,
        place: Box<dyn Place>,
    ) -> Self {
        Self {
            send: Sender::Open(send),
            recv,
            turns,
            sent: None,
            place: Some(place),
        }
    }

    /// Answers at once.
    pub(crate) fn server(
        mut respond: SendResponse<Bytes>,
        answer: Response<()>,
        recv: RecvStream,
        turns: Arc<Turns>,
    ) -> Result<Self, TunnelError> {
        let sent = Some(turns.begun());
        Ok(Self {
            send: Sender::Open(respond.send_response(answer, false)?),
            recv,
            turns,
            sent,
            place: None,
        })
    }

    /// Answers with the first bytes of the application, or a little later. For clients that do not wait for the answer.
    pub(crate) fn server_in_no_haste(
        respond: SendResponse<Bytes>,
        answer: Response<()>,
        recv: RecvStream,
        turns: Arc<Turns>,
    ) -> Self {
        let held = Held {
            respond,
            answer,
            patience: Box::pin(sleep(PATIENCE)),
            received: 0,
        };
        Self {
            send: Sender::Held(Box::new(held)),
            recv,
            turns,
            sent: None,
            place: None,
        }
    }

    fn sender(&mut self) -> Result<&mut SendStream<Bytes>, TunnelError> {
        if let Sender::Held(held) = &mut self.send {
            let answer = std::mem::take(&mut held.answer);
            self.sent = Some(self.turns.begun());
            self.send = Sender::Open(held.respond.send_response(answer, false)?);
        }
        match &mut self.send {
            Sender::Open(send) => Ok(send),
            _ => Err(TunnelError::Reset("our direction has ended".into())),
        }
    }

    fn answer_if_due(&mut self, received: usize, cx: &mut Context<'_>) -> Result<(), TunnelError> {
        if let Sender::Held(held) = &mut self.send {
            held.received = held.received.saturating_add(received);
            if held.received > SMALL || held.patience.as_mut().poll(cx).is_ready() {
                self.sender()?;
            }
        }
        Ok(())
    }
}

impl Tunnel for H2Tunnel {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TunnelError>>> {
        let data = self.recv.poll_data(cx);
        let received = match &data {
            Poll::Ready(Some(Ok(data))) => data.len(),
            // Nobody asks here again.
            Poll::Ready(_) => usize::MAX,
            Poll::Pending => 0,
        };
        if let Err(e) = self.answer_if_due(received, cx) {
            return Poll::Ready(Some(Err(e)));
        }
        data.map(|o| o.map(|r| r.map_err(TunnelError::from)))
    }

    fn release(&mut self, n: usize) {
        // Fails only where the stream is gone already, which the next poll tells.
        let _ = self.recv.flow_control().release_capacity(n);
    }

    fn poll_capacity(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<Result<usize, TunnelError>> {
        let send = self.sender()?;
        send.reserve_capacity(wanted);
        loop {
            let have = send.capacity();
            if have > 0 {
                return Poll::Ready(Ok(have.min(wanted)));
            }
            match ready!(send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(e)) => return Poll::Ready(Err(e.into())),
                None => return Poll::Ready(Err(TunnelError::Reset("stream closed".into()))),
            }
        }
    }

    fn send(&mut self, data: Bytes) -> Result<(), TunnelError> {
        let now = self.turns.begun();
        self.sender()?.send_data(data, false)?;
        self.sent = Some(now);
        Ok(())
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An answer that is still held says that the application was reached: nobody may ask again. Where it cannot be sent, the stream
        // has ended already.
        let _ = self.sender();
        match self.sent {
            Some(mark) => self.turns.poll_after(mark, cx),
            None => Poll::Ready(()),
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TunnelError>> {
        self.sender()?;
        if self.recv.is_end_stream()
            && let Some(place) = self.place.take()
            && let Sender::Open(stream) = std::mem::replace(&mut self.send, Sender::Ended)
        {
            place.farewell(stream);
            return Poll::Ready(Ok(()));
        }
        let end = self.sender()?.send_data(Bytes::new(), true);
        Poll::Ready(end.map_err(TunnelError::from))
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<TunnelError> {
        let reset = match &mut self.send {
            Sender::Open(send) => send.poll_reset(cx),
            Sender::Held(held) => held.respond.poll_reset(cx),
            Sender::Ended => return Poll::Pending,
        };
        match ready!(reset) {
            Ok(r) => Poll::Ready(TunnelError::Reset(format!("{r:?}"))),
            Err(e) => Poll::Ready(e.into()),
        }
    }

    fn reset(&mut self) {
        match &mut self.send {
            Sender::Open(send) => send.send_reset(Reason::CANCEL),
            Sender::Held(held) => held.respond.send_reset(Reason::CANCEL),
            Sender::Ended => {}
        }
    }
}
