//! The body of an answer, in the pieces that come over the network → its lines, or all of it. Within bounds: a line
//! that is too long is skipped without being held.

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;

use super::error::KubernetesError;

/// A line of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// Longer than the bound; it has been skipped.
    TooLong,
}

/// Splits a body into lines. A last line without its end is half an event: it is never told.
#[derive(Debug)]
pub(super) struct Lines<B> {
    body: B,
    /// Of the piece that came last.
    unread: Bytes,
    /// The beginning of the line that has not ended yet.
    begun: Vec<u8>,
    is_too_long: bool,
    max_bytes: usize,
}

impl<B: BodyExt<Data = Bytes, Error = kube::Error> + Unpin> Lines<B> {
    pub(super) fn new(body: B, max_bytes: usize) -> Self {
        Self { body, unread: Bytes::new(), begun: Vec::new(), is_too_long: false, max_bytes }
    }

    /// The next line; `None` at the end. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, KubernetesError> {
        loop {
            if let Some(line) = self.next_unread() {
                return Ok(Some(line));
            }
            match piece(&mut self.body).await? {
                Some(piece) => self.unread = piece,
                None => return Ok(None),
            }
        }
    }

    /// A line that ends in the piece at hand; else the piece becomes the beginning of a line.
    fn next_unread(&mut self) -> Option<Line> {
        let end = self.unread.iter().position(|&byte| byte == b'\n');
        let part = self.unread.split_to(end.unwrap_or(self.unread.len()));
        self.is_too_long |= self.begun.len() + part.len() > self.max_bytes;
        if self.is_too_long {
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(&part);
        }
        end?;
        self.unread.advance(1);
        let begun = std::mem::take(&mut self.begun);
        Some(if std::mem::take(&mut self.is_too_long) { Line::TooLong } else { Line::Whole(begun) })
    }
}

/// The next piece of a body that holds data; `None` at the end.
async fn piece<B>(body: &mut B) -> Result<Option<Bytes>, KubernetesError>
where
    B: BodyExt<Data = Bytes, Error = kube::Error> + Unpin,
{
    loop {
        let Some(frame) = body.frame().await else { return Ok(None) };
        let frame = frame.map_err(|source| KubernetesError::Broken { source: Box::new(source) })?;
        // Trailers hold none.
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// All of a body; `None` if it is longer than the bound.
pub(super) async fn whole<B>(mut body: B, max_bytes: usize) -> Result<Option<Vec<u8>>, KubernetesError>
where
    B: BodyExt<Data = Bytes, Error = kube::Error> + Unpin,
{
    let mut whole = Vec::new();
    while let Some(piece) = piece(&mut body).await? {
        if whole.len() + piece.len() > max_bytes {
            return Ok(None);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(Some(whole))
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// A body that comes in these pieces; `None` is where it breaks off.
    fn body(
        pieces: &[Option<&'static str>],
    ) -> impl BodyExt<Data = Bytes, Error = kube::Error> + Unpin + use<> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| match piece {
                Some(text) => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
                None => Err(kube::Error::LinesCodecMaxLineLengthExceeded),
            })
            .collect();
        StreamBody::new(stream::iter(pieces))
    }

    async fn lines(pieces: &[Option<&'static str>], max_bytes: usize) -> String {
        let mut lines = Lines::new(body(pieces), max_bytes);
        let mut told = Vec::new();
        loop {
            told.push(match lines.next().await {
                Ok(Some(Line::Whole(line))) => String::from_utf8(line).unwrap(),
                Ok(Some(Line::TooLong)) => "…".to_owned(),
                Ok(None) => break,
                Err(error) => {
                    told.push(error.cause().to_owned());
                    break;
                }
            });
        }
        told.join("|")
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        assert_eq!(lines(&[Some("ab\ncd\n")], 9).await, "ab|cd");
        assert_eq!(lines(&[Some("a"), Some(""), Some("b\nc"), Some("d"), Some("\n\n")], 9).await, "ab|cd|");
        assert_eq!(lines(&[], 9).await, "");
    }

    #[tokio::test]
    async fn half_a_line_is_none() {
        assert_eq!(lines(&[Some("ab\ncd")], 9).await, "ab");
        assert_eq!(lines(&[Some("ab\ncd"), None], 9).await, "ab|broken");
    }

    #[tokio::test]
    async fn a_long_line_is_skipped() {
        assert_eq!(lines(&[Some("abcd\nabc\n")], 3).await, "…|abc");
        assert_eq!(lines(&[Some("ab"), Some("cd"), Some("ef\nabc\nab"), Some("c\n")], 3).await, "…|abc|abc");
        assert_eq!(lines(&[Some("abcd")], 3).await, "");
    }

    #[tokio::test]
    async fn a_whole_body_has_a_bound() {
        assert_eq!(whole(body(&[Some("ab"), Some("c")]), 3).await.unwrap().as_deref(), Some(&b"abc"[..]));
        assert_eq!(whole(body(&[Some("ab"), Some("cd")]), 3).await.unwrap(), None);
        assert!(whole(body(&[Some("ab"), None]), 3).await.is_err());
    }
}
