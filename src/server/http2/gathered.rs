//! What a connection has to say in one turn, said at once. h2 flushes each frame of a body by itself, which over TLS is
//! a record and a system call for each answer; here flushing waits until the connection has nothing more to do.
//!
//! Stands apart because two hold the stream: hyper, which writes to it, and the turn's end, which flushes it.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is held at most: the plaintext of one TLS record (RFC 8446 5.1).
const MOST: usize = 16 * 1024;

/// A stream whose writes are held until the end of the turn, or until there are enough of them.
pub(super) struct Gathered<S>(Rc<RefCell<Held<S>>>);

/// The turn's end.
pub(super) struct TurnsEnd<S>(Rc<RefCell<Held<S>>>);

struct Held<S> {
    stream: S,
    /// Empty between turns: a connection with nothing to say keeps no room for it.
    bytes: Vec<u8>,
    /// How many of them have gone.
    gone: usize,
}

impl<S> Gathered<S> {
    pub(super) fn new(stream: S) -> (Self, TurnsEnd<S>) {
        let held = Rc::new(RefCell::new(Held {
            stream,
            bytes: Vec::new(),
            gone: 0,
        }));
        (Self(Rc::clone(&held)), TurnsEnd(held))
    }
}

impl<S: AsyncWrite + Unpin> TurnsEnd<S> {
    /// Hands everything on that was written in this turn.
    ///
    /// # Errors
    /// The stream is broken.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.borrow_mut();
        if held.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(held.poll_drain(cx))?;
        Pin::new(&mut held.stream).poll_flush(cx)
    }
}

impl<S: AsyncWrite + Unpin> Held<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.bytes.len() {
            let rest = &self.bytes[self.gone..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.gone += count,
            }
        }
        self.bytes = Vec::new();
        self.gone = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut held = self.0.borrow_mut();
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        if held.bytes.len() + length > MOST {
            ready!(held.poll_drain(cx))?;
        }
        // A frame of a long body is not worth a copy.
        if length >= MOST {
            return Pin::new(&mut held.stream).poll_write_vectored(cx, slices);
        }
        if held.bytes.is_empty() {
            held.bytes.reserve_exact(MOST);
        }
        for slice in slices {
            held.bytes.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// At the turn's end.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.borrow_mut();
        ready!(held.poll_drain(cx))?;
        Pin::new(&mut held.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What can be read now, without waiting.
    async fn there(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        let mut read = vec![0; 4 * MOST];
        let count = tokio::select! {
            biased;
            count = stream.read(&mut read) => count.unwrap(),
            () = std::future::ready(()) => 0,
        };
        read.truncate(count);
        read
    }

    #[tokio::test]
    async fn a_turn_is_said_at_its_end_and_at_once() {
        let (ours, mut theirs) = duplex(4 * MOST);
        let (mut stream, turns_end) = Gathered::new(ours);
        for part in ["one ", "two ", "three"] {
            stream.write_all(part.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
        assert!(there(&mut theirs).await.is_empty());
        poll_fn(|cx| turns_end.poll_flush(cx)).await.unwrap();
        assert_eq!(there(&mut theirs).await, b"one two three");
        assert_eq!(stream.0.borrow().bytes.capacity(), 0, "it keeps no room");
        poll_fn(|cx| turns_end.poll_flush(cx)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_long_goes_out_in_its_order_without_being_held() {
        let (ours, mut theirs) = duplex(4 * MOST);
        let (mut stream, _turns_end) = Gathered::new(ours);
        let long = vec![b'x'; MOST];
        stream.write_all(b"head").await.unwrap();
        let parts = [IoSlice::new(b"frame"), IoSlice::new(&long)];
        assert_eq!(stream.write_vectored(&parts).await.unwrap(), 5 + MOST);
        let read = there(&mut theirs).await;
        assert_eq!(read.len(), 4 + 5 + MOST);
        assert!(read.starts_with(b"headframexx"));
    }

    #[tokio::test]
    async fn no_more_is_held_than_one_record() {
        let (ours, mut theirs) = duplex(100 * 1000);
        let (mut stream, turns_end) = Gathered::new(ours);
        for _ in 0..100 {
            stream.write_all(&[b'x'; 1000]).await.unwrap();
            assert!(stream.0.borrow().bytes.len() <= MOST);
        }
        stream.shutdown().await.unwrap();
        drop((stream, turns_end));
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 100_000);
    }

    #[tokio::test]
    async fn a_reader_that_takes_little_is_waited_for_and_one_that_has_gone_is_told_of() {
        let (ours, mut theirs) = duplex(8);
        let (mut stream, turns_end) = Gathered::new(ours);
        stream.write_all(&[b'x'; 100]).await.unwrap();
        let flushing = poll_fn(|cx| turns_end.poll_flush(cx));
        let mut read = [0; 100];
        let (flushed, all) = tokio::join!(flushing, theirs.read_exact(&mut read));
        flushed.unwrap();
        all.unwrap();
        stream.write_all(b"more").await.unwrap();
        drop(theirs);
        let error = poll_fn(|cx| turns_end.poll_flush(cx)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
