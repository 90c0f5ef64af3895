//! The data of a warm app: a tar archive per volume, its env file, and the names of its secrets.
//!
//! It is taken and put back only while nothing of the app is deployed, through containers that are never
//! started. Every checksum is compared once before it is used, and so before anything is touched, which the type
//! [`Verified`] sees to; every volume is read again after it was put back.

mod pieces;

use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::canonical::{Canonical, SnapshotRef, WarmDir};
use super::{WarmApp, WarmError, tree};
use engine::hash::HashWriter;
use engine::made;
use engine::record::write_private;
use engine::swarm::EngineError;
use engine::swarm::object::{Kind, Object};
use engine::swarm::teardown::DeployerState;
use engine::swarm::volume::{MOUNT_POINT, VolumeSpec};
use engine::wait::{Deadline, Stopwatch, retry_while};
use ground::host_file;
use pieces::Pieces;

/// How long the engine may take to let go of the volumes of a container that it lists no more.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);

/// What `meta.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The release whose data it is.
    pub version: String,
    /// Every volume of the app.
    pub volumes: Vec<VolumePart>,
    /// The SHA-256 of the env file.
    pub env_sha256: String,
    /// The full names of the app's secrets.
    pub secrets: Vec<String>,
    /// The images of the release, one of which reaches the volumes.
    pub images: Vec<String>,
}

/// A volume in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumePart {
    /// What it is.
    pub spec: VolumeSpec,
    /// The size of its archive in bytes.
    pub size: u64,
    /// The SHA-256 of its archive.
    pub sha256: String,
    /// The SHA-256 of what its archive holds, for comparing it with a volume.
    pub tree: String,
}

/// A snapshot on disk.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its directory.
    pub dir: PathBuf,
    /// What it holds.
    pub meta: Meta,
}

impl Snapshot {
    /// Reads what the snapshot of `canonical` holds. Archives are not looked at.
    ///
    /// # Errors
    /// [`WarmError::Corrupt`] when it is not what the record names, [`WarmError::Io`] when it cannot be read.
    pub fn read(place: &WarmDir, canonical: &Canonical) -> Result<Self, WarmError> {
        let Some(reference) = &canonical.snapshot else {
            return Err(WarmError::Corrupt {
                path: place.dir.clone(),
                reason: "there is none".to_owned(),
            });
        };
        let dir = place.snapshot_dir(&reference.dir);
        let path = dir.join("meta.json");
        let corrupt = |reason| WarmError::Corrupt {
            path: path.clone(),
            reason,
        };
        let text = host_file::bytes(&path).map_err(unread(&path))?;
        if hex::encode(Sha256::digest(&text)) != reference.sha256 {
            return Err(corrupt("its checksum is not the record's".to_owned()));
        }
        let meta = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
        Ok(Self { dir, meta })
    }

    fn archive(&self, volume: &VolumePart) -> PathBuf {
        self.dir.join(format!("{}.tar", volume.spec.name))
    }

    fn env_file(&self) -> PathBuf {
        self.dir.join("env")
    }

    /// Returns the text of the app's env file.
    ///
    /// # Errors
    /// [`WarmError::Corrupt`], or [`WarmError::Io`] when it cannot be read.
    pub fn env(&self) -> Result<String, WarmError> {
        let path = self.env_file();
        let text = host_file::bytes(&path).map_err(unread(&path))?;
        String::from_utf8(text).map_err(|error| WarmError::Corrupt {
            path,
            reason: error.to_string(),
        })
    }

    /// Returns the values of the app's secrets, for hiding them.
    #[must_use]
    pub fn secret_values(&self) -> Vec<String> {
        let text = host_file::bytes(self.dir.join("secret-values.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Compares every checksum. Blocking.
    ///
    /// # Errors
    /// [`WarmError::Corrupt`], or [`WarmError::Io`] when one of the files cannot be read.
    pub fn verify(&self) -> Result<(), WarmError> {
        let mut files = vec![(self.env_file(), self.meta.env_sha256.as_str(), None)];
        files.extend(self.meta.volumes.iter().map(|volume| {
            (
                self.archive(volume),
                volume.sha256.as_str(),
                Some(volume.size),
            )
        }));
        for (path, expected, size) in files {
            let corrupt = |reason: String| WarmError::Corrupt {
                path: path.clone(),
                reason,
            };
            let file = host_file::open(&path).map_err(unread(&path))?;
            let length = file.metadata().map_err(unread(&path))?.len();
            if let Some(size) = size.filter(|size| *size != length) {
                return Err(corrupt(format!("it has {length} bytes, not {size}")));
            }
            let mut hash = Sha256::new();
            let mut reader = BufReader::with_capacity(1 << 20, file);
            io::copy(&mut reader, &mut HashWriter(&mut hash)).map_err(unread(&path))?;
            if hex::encode(hash.finalize()) != expected {
                return Err(corrupt(
                    "its checksum is not the one that it was taken with".to_owned(),
                ));
            }
        }
        Ok(())
    }
}

/// Returns what it means that a file of a snapshot was not read. One that is gone is lost; whatever else a system
/// says (too many open files, no permission, a disk that does not answer) says nothing about what is in it, and
/// lost data is thrown away.
fn unread(path: &Path) -> impl FnOnce(io::Error) -> WarmError + use<> {
    let path = path.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::NotFound => WarmError::Corrupt {
            path,
            reason: error.to_string(),
        },
        _ => WarmError::io("read", &path)(error),
    }
}

/// A snapshot whose every checksum has been compared. Nothing else is ever put back, and [`WarmApp::verified`]
/// alone makes one, so that its holder need not compare them again.
#[derive(Debug, Clone)]
pub struct Verified(Snapshot);

impl std::ops::Deref for Verified {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// What a new snapshot is of.
#[derive(Debug)]
pub struct Take<'a> {
    /// The release.
    pub version: &'a str,
    /// Its images.
    pub images: Vec<String>,
    /// Values of secrets that were generated, so that later runs can hide them.
    pub secret_values: &'a [String],
}

impl WarmApp {
    /// Returns the snapshot of `canonical`, after every checksum of it has been compared.
    ///
    /// # Errors
    /// [`WarmError::Corrupt`], or [`WarmError::Io`] when one of the files cannot be read.
    pub async fn verified(&self, canonical: &Canonical) -> Result<Verified, WarmError> {
        let snapshot = Snapshot::read(&self.place, canonical)?;
        let checked = tokio::task::spawn_blocking(move || {
            snapshot.verify()?;
            Ok(Verified(snapshot))
        });
        match checked.await {
            Ok(result) => result,
            Err(error) => Err(WarmError::Io {
                doing: "verify",
                path: self.place.dir.clone(),
                source: io::Error::other(error),
            }),
        }
    }

    /// Takes a snapshot of the undeployed app into a new directory. The record does not name it yet.
    ///
    /// # Errors
    /// [`WarmError`]; what was written of it is gone again.
    pub async fn take(
        &self,
        canonical: &Canonical,
        take: Take<'_>,
    ) -> Result<SnapshotRef, WarmError> {
        // The volumes must not change under the archive. Only an app that came up gets here.
        self.undeploy(DeployerState::Done).await?;
        let name = self.place.new_snapshot()?;
        let dir = self.place.snapshot_dir(&name);
        match self.fill(canonical, take, &dir).await {
            Ok(sha256) => Ok(SnapshotRef { dir: name, sha256 }),
            Err(error) => {
                drop(std::fs::remove_dir_all(&dir));
                Err(error)
            }
        }
    }

    async fn fill(
        &self,
        canonical: &Canonical,
        take: Take<'_>,
        dir: &Path,
    ) -> Result<String, WarmError> {
        let objects = self.objects().await?;
        let image = self.engine.some_image(&take.images).await?;
        let mut volumes = Vec::new();
        for object in objects.iter().filter(|object| object.kind == Kind::Volume) {
            let spec = self.engine.volume(&object.name).await?;
            self.require_own(&spec)?;
            let path = dir.join(format!("{}.tar", spec.name));
            let holder = self.hold(&spec.name, &image).await?;
            let saved = self.save(&holder, &path).await;
            self.engine.remove(&holder).await?;
            let (size, sha256, tree) = saved?;
            volumes.push(VolumePart {
                spec,
                size,
                sha256,
                tree,
            });
        }
        volumes.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        let mut secrets: Vec<String> = objects
            .into_iter()
            .filter(|object| object.kind == Kind::Secret)
            .map(|object| object.name)
            .collect();
        secrets.sort();
        let env = self.host.env_file(&canonical.server, self.lock.domain());
        let env = host_file::bytes(&env).map_err(WarmError::io("read", &env))?;
        keep(&dir.join("env"), &env)?;
        let values = serde_json::to_vec(take.secret_values).expect("texts are valid JSON");
        keep(&dir.join("secret-values.json"), &values)?;
        let meta = Meta {
            version: take.version.to_owned(),
            volumes,
            env_sha256: hex::encode(Sha256::digest(&env)),
            secrets,
            images: take.images,
        };
        let text =
            serde_json::to_vec_pretty(&meta).expect("a snapshot's description is valid JSON");
        keep(&dir.join("meta.json"), &text)?;
        let parent = dir.parent().unwrap_or(dir);
        for path in [dir, parent] {
            host_file::open(path)
                .and_then(|dir| dir.sync_all())
                .map_err(WarmError::io("sync", path))?;
        }
        Ok(hex::encode(Sha256::digest(&text)))
    }

    async fn objects(&self) -> Result<Vec<Object>, EngineError> {
        let app = made::belongings(&self.host, self.lock.domain())?;
        self.engine.objects_of(&app).await
    }

    async fn hold(&self, volume: &str, image: &str) -> Result<Object, EngineError> {
        let stack = self.lock.domain().stack();
        self.engine.hold_volume(&stack, volume, image).await
    }

    /// Writes the volume's archive to `path`; returns its size, its hash and that of what it holds.
    async fn save(&self, holder: &Object, path: &Path) -> Result<(u64, String, String), WarmError> {
        let failed = |source| WarmError::io("write", path)(source);
        let mut options = tokio::fs::OpenOptions::from(host_file::options());
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(path).await.map_err(failed)?;
        let mut stream = std::pin::pin!(self.engine.archive(&holder.id, MOUNT_POINT));
        let (mut size, mut hash) = (0, Sha256::new());
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            size += piece.len() as u64;
            hash.update(&piece);
            tokio::io::AsyncWriteExt::write_all(&mut file, &piece)
                .await
                .map_err(failed)?;
        }
        // A full disk may show only now.
        tokio::io::AsyncWriteExt::flush(&mut file)
            .await
            .map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        let ours = path.to_owned();
        let tree = tokio::task::spawn_blocking(move || {
            tree::digest(BufReader::with_capacity(1 << 20, host_file::open(ours)?))
        });
        let tree = tree
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        Ok((
            size,
            hex::encode(hash.finalize()),
            tree.map_err(WarmError::io("read", path))?,
        ))
    }

    /// Makes volumes, secrets and env file of the app, of which nothing is deployed, what `snapshot` has.
    ///
    /// The volumes are independent of each other, and the engine unpacks two at once where it has two cores.
    ///
    /// # Errors
    /// [`WarmError`]; nothing was touched if a secret of it is gone.
    pub async fn put_back(
        &self,
        canonical: &Canonical,
        snapshot: &Verified,
    ) -> Result<(), WarmError> {
        let objects = self.objects().await?;
        let named = |kind, name: &str| {
            objects
                .iter()
                .any(|object| object.kind == kind && object.name == name)
        };
        if let Some(name) = snapshot
            .meta
            .secrets
            .iter()
            .find(|name| !named(Kind::Secret, name))
        {
            return Err(WarmError::SecretGone { name: name.clone() });
        }
        for volume in &snapshot.meta.volumes {
            self.require_own(&volume.spec)?;
        }
        let image = self.engine.some_image(&snapshot.meta.images).await?;
        let watch = Stopwatch::start();
        let is_stale = |object: &&Object| match object.kind {
            Kind::Volume => true,
            // Those that the failed head added.
            Kind::Secret => !snapshot.meta.secrets.contains(&object.name),
            _ => false,
        };
        // Every one is waited for, so that an error leaves no other volume half done and no holder behind. The engine
        // lists a container no more a moment before it lets go of its volumes.
        let removed = retry_while(
            Deadline::after(RELEASE_LIMIT),
            Duration::from_millis(50),
            |removed: &Vec<Result<(), EngineError>>| removed.iter().any(Result::is_err),
            || {
                join_all(
                    objects
                        .iter()
                        .filter(is_stale)
                        .map(|object| self.engine.remove(object)),
                )
            },
        );
        removed.await.into_iter().collect::<Result<(), _>>()?;
        tracing::debug!(elapsed = ?watch.elapsed(), "removed what is replaced");
        let volumes = snapshot.meta.volumes.iter();
        let put = join_all(volumes.map(|volume| self.put_volume(snapshot, volume, &image))).await;
        put.into_iter().collect::<Result<(), _>>()?;
        let env = self.host.env_file(&canonical.server, self.lock.domain());
        let text = snapshot.env()?;
        if let Some(parent) = env.parent() {
            std::fs::create_dir_all(parent).map_err(WarmError::io("create", parent))?;
        }
        write_private(&env, text.as_bytes()).map_err(WarmError::io("write", &env))
    }

    /// Refuses a volume whose data is not the app's own: it is neither kept nor put back.
    fn require_own(&self, spec: &VolumeSpec) -> Result<(), WarmError> {
        let app = made::belongings(&self.host, self.lock.domain()).map_err(EngineError::from)?;
        spec.not_own(&app)
            .map_or(Ok(()), |reason| Err(WarmError::NotOwn { reason }))
    }

    /// Makes a volume of the snapshot again, and compares what it holds then.
    async fn put_volume(
        &self,
        snapshot: &Verified,
        volume: &VolumePart,
        image: &str,
    ) -> Result<(), WarmError> {
        let watch = Stopwatch::start();
        self.engine.create_volume(&volume.spec).await?;
        let holder = self.hold(&volume.spec.name, image).await?;
        let held = watch.elapsed();
        let put = async {
            self.engine
                .upload(&holder.id, "/", &snapshot.archive(volume))
                .await?;
            let uploaded = watch.elapsed();
            let tree = self.tree_of(&holder).await;
            let name = &volume.spec.name;
            tracing::debug!(volume = %name, ?held, ?uploaded, compared = ?watch.elapsed(), "put back");
            tree
        }
        .await;
        self.engine.remove(&holder).await?;
        if put? != volume.tree {
            return Err(WarmError::NotRestored {
                volume: volume.spec.name.clone(),
            });
        }
        Ok(())
    }

    /// Returns the hash of what a volume holds now.
    async fn tree_of(&self, holder: &Object) -> Result<String, WarmError> {
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        let reading = tokio::task::spawn_blocking(move || {
            tree::digest(Pieces {
                receiver,
                piece: bytes::Bytes::new(),
            })
        });
        let mut stream = std::pin::pin!(self.engine.archive(&holder.id, MOUNT_POINT));
        while let Some(piece) = stream.next().await {
            if sender.send(piece?).await.is_err() {
                // The reader has failed, and says why below.
                break;
            }
        }
        drop(sender);
        let read = reading
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        read.map_err(|source| {
            WarmError::Engine(EngineError::Local {
                what: format!("read what `{}` holds", holder.name),
                source,
            })
        })
    }
}

/// Writes a file that only its owner may read, through to the disk.
fn keep(path: &Path, content: &[u8]) -> Result<(), WarmError> {
    let write = || {
        let mut file = host_file::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(WarmError::io("write", path))
}

#[cfg(test)]
mod tests;
