//! Files of a container, in and out, by the engine's archive API: it needs no shell inside.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::container::short;
use super::{Engine, EngineError};

use ground::host_file;

/// Largest file that is read into memory, in bytes; markers are a few dozen.
const SMALL_FILE_LIMIT: usize = 1 << 20;

/// How long an upload may take. The engine answers when it has unpacked everything, so the limit of other
/// answers would cut off whatever is large: 30 min are 18 GB at 10 MB/s. The run's deadline ends it sooner.
const UPLOAD_LIMIT: Duration = Duration::from_secs(30 * 60);

impl Engine {
    /// Returns `path` of `container` as a tar archive, piece by piece.
    pub fn archive(
        &self,
        container: &str,
        path: &str,
    ) -> impl Stream<Item = Result<Bytes, EngineError>> {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let what = about("read", path, container);
        self.docker
            .download_from_container(container, Some(options))
            .map(move |piece| piece.map_err(|error| self.failed(what.clone(), error)))
    }

    /// Writes `path` of `container` to `file` as a tar archive of at most `limit` bytes; returns its size in bytes.
    /// Holes of a file count as its bytes.
    ///
    /// # Errors
    /// [`EngineError`], [`EngineError::TooLarge`] with no file left; see [`EngineError::is_gone`] for a path that does not exist.
    pub async fn download(
        &self,
        container: &str,
        path: &str,
        file: &Path,
        limit: u64,
    ) -> Result<u64, EngineError> {
        let local = |source| EngineError::Local {
            what: format!("write `{}`", file.display()),
            source,
        };
        let mut stream = std::pin::pin!(self.archive(container, path));
        let mut sink = tokio::fs::File::create(file).await.map_err(local)?;
        let mut size = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            size += piece.len() as u64;
            if size > limit {
                drop(sink);
                std::fs::remove_file(file).map_err(local)?;
                return Err(EngineError::TooLarge {
                    path: path.to_owned(),
                    limit,
                });
            }
            sink.write_all(&piece).await.map_err(local)?;
        }
        sink.sync_all().await.map_err(local)?;
        Ok(size)
    }

    /// Unpacks the tar archive `file` into directory `path` of `container`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn upload(
        &self,
        container: &str,
        path: &str,
        file: &Path,
    ) -> Result<(), EngineError> {
        let local = |source| EngineError::Local {
            what: format!("read `{}`", file.display()),
            source,
        };
        let source = host_file::open(file).map_err(local)?;
        let source = tokio::fs::File::from_std(source);
        let pieces = futures_util::stream::unfold(source, |mut source| async move {
            let mut piece = vec![0; 128 << 10];
            match source.read(&mut piece).await {
                Ok(0) => None,
                Ok(count) => {
                    piece.truncate(count);
                    Some((Ok(Bytes::from(piece)), source))
                }
                Err(error) => Some((Err(error), source)),
            }
        });
        let options = UploadToContainerOptionsBuilder::new().path(path).build();
        let patient = self.docker.clone().with_timeout(UPLOAD_LIMIT);
        patient
            .upload_to_container(container, Some(options), bollard::body_try_stream(pieces))
            .await
            .map_err(|error| self.failed(about("write", path, container), error))
    }

    /// Writes one small file into directory `dir` of `container`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn put_file(
        &self,
        container: &str,
        dir: &str,
        name: &str,
        content: &[u8],
    ) -> Result<(), EngineError> {
        let local = |source| EngineError::Local {
            what: format!("pack `{name}`"),
            source,
        };
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(jiff::Timestamp::now().as_second().unsigned_abs());
        header.set_cksum();
        archive
            .append_data(&mut header, name, content)
            .map_err(local)?;
        let bytes = archive.into_inner().map_err(local)?;
        let options = UploadToContainerOptionsBuilder::new().path(dir).build();
        self.docker
            .upload_to_container(container, Some(options), bollard::body_full(bytes.into()))
            .await
            .map_err(|error| self.failed(about("write", dir, container), error))
    }

    /// Returns the size in bytes of the file `path` of `container`, which is not read; `None` when it does not exist.
    ///
    /// # Errors
    /// [`EngineError`] for anything but its absence.
    pub async fn file_size(&self, container: &str, path: &str) -> Result<Option<u64>, EngineError> {
        let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let info = self
            .docker
            .get_container_archive_info(container, Some(options))
            .await
            .map_err(|error| self.failed(about("look at", path, container), error));
        match info {
            Ok(info) => Ok(Some(info.size.unsigned_abs())),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether `path` of `container` is a directory; one that does not exist is not.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn is_directory(&self, container: &str, path: &str) -> Result<bool, EngineError> {
        // With a trailing `/.` the API refuses what is not a directory, before any content is sent.
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(&format!("{path}/."))
            .build();
        let mut stream = std::pin::pin!(
            self.docker
                .download_from_container(container, Some(options))
        );
        match stream
            .next()
            .await
            .transpose()
            .map_err(|error| self.failed(about("read", path, container), error))
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_gone() => Ok(false),
            Err(EngineError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the content of one small file of `container`, or `None` when it does not exist.
    ///
    /// # Errors
    /// [`EngineError`] for anything but its absence, [`EngineError::TooLarge`] for one whose archive has more than 1 MiB.
    pub async fn get_file(
        &self,
        container: &str,
        path: &str,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(path)
            .build();
        let mut stream = std::pin::pin!(
            self.docker
                .download_from_container(container, Some(options))
        );
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            match piece.map_err(|error| self.failed(about("read", path, container), error)) {
                Ok(piece) if bytes.len() + piece.len() > SMALL_FILE_LIMIT => {
                    return Err(EngineError::TooLarge {
                        path: path.to_owned(),
                        limit: SMALL_FILE_LIMIT as u64,
                    });
                }
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(error) if error.is_gone() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let local = |source| EngineError::Local {
            what: format!("unpack `{path}`"),
            source,
        };
        let mut archive = tar::Archive::new(bytes.as_slice());
        let Some(entry) = archive.entries().map_err(local)?.next() else {
            return Ok(None);
        };
        let mut content = Vec::new();
        entry
            .map_err(local)?
            .read_to_end(&mut content)
            .map_err(local)?;
        Ok(Some(content))
    }
}

fn about(verb: &str, path: &str, container: &str) -> String {
    format!("{verb} `{path}` in container {}", short(container))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn read_until(stream: &mut UnixStream, end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(end) && stream.read(&mut byte).unwrap_or(0) == 1 {
            bytes.push(byte[0]);
        }
        bytes
    }

    /// An engine that says when it has all of an upload, and answers it when it is told to; it accepts one other
    /// request and never answers that.
    fn slow_engine(
        listener: &UnixListener,
        arrived: tokio::sync::oneshot::Sender<()>,
        answer: &Receiver<()>,
    ) {
        let (mut upload, _) = listener.accept().unwrap();
        assert!(read_until(&mut upload, b"\r\n\r\n").starts_with(b"PUT "));
        read_until(&mut upload, b"\r\n0\r\n\r\n");
        arrived.send(()).unwrap();
        let _other = listener.accept().unwrap();
        answer.recv().unwrap();
        drop(upload.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_file_that_is_not_small_is_not_read_to_its_end() {
        let archive = |size: usize| {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_size(size as u64);
            let content = vec![b'x'; size];
            archive
                .append_data(&mut header, "f", content.as_slice())
                .unwrap();
            // What the fake says is text, and so is an archive of one.
            String::from_utf8(archive.into_inner().unwrap()).unwrap()
        };
        let root = tempfile::tempdir().unwrap();
        let engine = crate::swarm::testing::engine(root.path(), move |request| {
            let size = if request.contains("large") {
                1 << 20
            } else {
                9
            };
            match request.contains("gone") {
                true => (404, "{}".to_owned()),
                false => (200, archive(size)),
            }
        });
        let small = engine.get_file("c", "small").await.unwrap();
        assert_eq!(small.unwrap(), b"xxxxxxxxx");
        assert_eq!(engine.get_file("c", "gone").await.unwrap(), None);
        let large = engine.get_file("c", "large").await;
        assert!(
            matches!(large, Err(EngineError::TooLarge { .. })),
            "{large:?}"
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_upload_may_take_longer_than_any_other_answer() {
        let root = tempfile::tempdir().unwrap();
        let socket = root.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (arrived, has_arrived) = tokio::sync::oneshot::channel();
        let (tell, answer): (Sender<()>, _) = channel();
        std::thread::spawn(move || slow_engine(&listener, arrived, &answer));
        let mut engine = Engine::connect(&format!("unix://{}", socket.display())).unwrap();
        engine.docker.set_timeout(Duration::from_secs(1));
        let file = root.path().join("volume.tar");
        std::fs::write(&file, [0; 1024]).unwrap();
        let other = async {
            has_arrived.await.unwrap();
            let other = engine.has_image("recipe-ci/notes:1").await;
            // The upload began before it, so it has waited for longer than the limit.
            tell.send(()).unwrap();
            other
        };
        let (uploaded, other) = futures_util::join!(engine.upload("holder", "/", &file), other);
        assert!(
            matches!(other, Err(EngineError::Unreachable { .. })),
            "{other:?}"
        );
        uploaded.unwrap();
    }
}
