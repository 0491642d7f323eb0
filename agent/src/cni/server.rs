//! The socket's server: bounded in size, time and number.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::{Answer, Request};
use crate::node::Input;

/// Longest question in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// How long a question may take to arrive, and an answer to be taken.
const IO_LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for an answer; longer than any wait of the node itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Most questions at once.
const MAX_QUESTIONS: usize = 256;

/// Binds `path` (mode 0600) and answers until the task is dropped.
///
/// # Errors
/// The path cannot be bound.
pub fn serve(
    path: &Path,
    node: mpsc::Sender<Input>,
) -> io::Result<impl Future<Output = ()> + use<>> {
    let listener = crate::run::bind_unix(path)?;
    Ok(accept(listener, node))
}

async fn accept(listener: UnixListener, node: mpsc::Sender<Input>) {
    let places = Arc::new(Semaphore::new(MAX_QUESTIONS));
    loop {
        // A place is taken first: beyond the limit callers wait in the socket's own queue.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let node = node.clone();
                tokio::spawn(async move {
                    converse(stream, node).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cni socket: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: UnixStream, node: mpsc::Sender<Input>) {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(read.take(MAX_LINE));
    let answer = match timeout(IO_LIMIT, reader.read_until(b'\n', &mut line)).await {
        Err(_) => Answer::failed(format!("no complete line within {IO_LIMIT:?}")),
        Ok(Err(_)) => return,
        Ok(Ok(_)) if line.is_empty() => return,
        Ok(Ok(_)) if !line.ends_with(b"\n") => {
            Answer::failed(format!("no line end within {MAX_LINE} bytes"))
        }
        Ok(Ok(_)) => ask(&line, node).await,
    };
    let Ok(mut text) = serde_json::to_vec(&answer) else {
        return;
    };
    text.push(b'\n');
    // An asker that went away is not told.
    let _ = timeout(IO_LIMIT, write.write_all(&text)).await;
}

async fn ask(line: &[u8], node: mpsc::Sender<Input>) -> Answer {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(e) => {
            return Answer::failed(format!(
                "the request is not one JSON object as documented: {e}"
            ));
        }
    };
    if let Some(problem) = request.problem() {
        return Answer::failed(problem);
    }
    let (reply, answer) = oneshot::channel();
    if node
        .send(Input::Cni(Box::new(request), reply))
        .await
        .is_err()
    {
        return Answer::failed("the agent is stopping; try again");
    }
    match timeout(ANSWER_LIMIT, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Answer::failed(
            "another request for this pod, or the agent's end, came in between; try again",
        ),
        Err(_) => Answer::failed(format!("the agent gave no answer within {ANSWER_LIMIT:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchange(sent: &[u8]) -> serde_json::Value {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cni.sock");
        let (tx, mut rx) = mpsc::channel(1);
        let server = tokio::spawn(serve(&path, tx).unwrap());
        tokio::spawn(async move {
            while let Some(input) = rx.recv().await {
                let Input::Cni(_, reply) = input else {
                    panic!("not a question")
                };
                reply.send(Answer::done(true)).unwrap();
            }
        });
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        serde_json::from_str(&answer).unwrap()
    }

    #[tokio::test]
    async fn a_question_is_answered() {
        let answer = exchange(b"{\"op\":\"del\",\"namespace\":\"shop\",\"name\":\"web\"}\n").await;
        assert_eq!(answer, serde_json::json!({ "ok": true, "enrolled": true }));
    }

    #[tokio::test]
    async fn garbage_is_told_so() {
        for garbage in [
            &b"\xff\x00\n"[..],
            b"{}\n",
            b"no line end",
            b"{\"op\":\"fly\"}\n",
        ] {
            let answer = exchange(garbage).await;
            assert_eq!(answer["ok"], false);
            assert!(!answer["error"].as_str().unwrap().is_empty());
        }
        let answer = exchange(&vec![b'x'; MAX_LINE as usize]).await;
        assert!(
            answer["error"].as_str().unwrap().contains("bytes"),
            "{answer}"
        );
    }
}
