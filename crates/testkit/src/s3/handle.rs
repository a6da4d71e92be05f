//! Starting the double, and what a test looks at and changes behind S3's back.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use s3s::crypto::{Checksum as _, Md5};
use s3s::service::S3ServiceBuilder;
use time::OffsetDateTime;
use tokio::net::TcpListener;

use super::body::Body;
use super::store::{Bucket, Facts, Object, Store, Versioning};
use super::sums::{Algorithm, Checksum, Hasher, Kind, base64};
use super::{Double, Options, World, serve, service};

/// A current object as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub body: Vec<u8>,
    /// Without quotes.
    pub etag: String,
    pub content_type: Option<String>,
    pub metadata: HashMap<String, String>,
    pub tags: Vec<(String, String)>,
    /// `None` is STANDARD.
    pub storage_class: Option<String>,
    /// Such as `CRC64NVME`, `FULL_OBJECT` and the value in Base64.
    pub checksum: Option<(String, String, String)>,
    /// The sizes of its parts; empty where it was put in one piece.
    pub parts: Vec<u64>,
    pub modified: SystemTime,
}

impl Stored {
    /// Of the body, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&self.body);
        kit::hex(&hasher.finish())
    }

    /// The body, taken out of a zstd stream where it is in one.
    ///
    /// # Errors
    /// The stream is damaged or cut off.
    pub fn unpacked(&self) -> io::Result<Vec<u8>> {
        // https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1
        if self.body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return zstd::decode_all(self.body.as_slice());
        }
        Ok(self.body.clone())
    }
}

impl Double {
    /// Listens on 127.0.0.1.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port))).await?;
        let address = listener.local_addr()?;
        let world = Arc::new(World {
            options,
            store: Mutex::new(Store::default()),
            clock: Mutex::new(None),
            refused: Mutex::new(Vec::new()),
        });
        let service = S3ServiceBuilder::new(service::Service(Arc::clone(&world))).build();
        let task = tokio::spawn(serve::listen(listener, service, Arc::clone(&world)));
        Ok(Self { address, world, task })
    }

    /// The value for `AWS_ENDPOINT_URL_S3`, or for `Builder::upstream_for` of the front.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The operations that it does not know and was asked for, as `METHOD PATH`. A test ends by asserting that there are none.
    pub fn refused(&self) -> Vec<String> {
        self.world.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a bucket in the double's own region.
    pub fn create_bucket(&self, name: &str) {
        let bucket = Bucket::new(&self.world.options.region, &self.world.options.account, self.world.now());
        self.world.store().buckets.insert(name.to_owned(), bucket);
    }

    /// Gives a bucket to another account.
    pub fn set_owner(&self, bucket: &str, account: &str) {
        self.change(bucket, |bucket| account.clone_into(&mut bucket.owner));
    }

    /// Moves a bucket to another region.
    pub fn set_region(&self, bucket: &str, region: &str) {
        self.change(bucket, |bucket| region.clone_into(&mut bucket.region));
    }

    /// Lets in only requests that these access keys have signed; to all others access is denied.
    pub fn only_for(&self, bucket: &str, access_keys: &[&str]) {
        let keys = access_keys.iter().map(|key| (*key).to_owned()).collect();
        self.change(bucket, |bucket| bucket.access_keys = Some(keys));
    }

    /// Keeps versions from now on.
    pub fn enable_versioning(&self, bucket: &str) {
        self.change(bucket, |bucket| bucket.versioning = Versioning::Enabled);
    }

    /// Stops the clock at this time, or lets it go on.
    pub fn set_clock(&self, time: Option<SystemTime>) {
        *self.world.clock.lock().unwrap_or_else(PoisonError::into_inner) = time.map(OffsetDateTime::from);
    }

    /// Puts an object with nothing but a body.
    ///
    /// # Panics
    /// There is no such bucket, as with all that changes one.
    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) {
        let body = body.into();
        let mut crc = Hasher::new(Algorithm::Crc64Nvme);
        crc.update(&body);
        let mut md5 = Md5::new();
        md5.update(&body);
        let object = Object {
            etag: kit::hex(md5.finalize().as_ref()),
            checksum: Some(Checksum {
                algorithm: Algorithm::Crc64Nvme,
                kind: Kind::FullObject,
                value: base64(&crc.finish()),
            }),
            body: Body::from(body),
            facts: Facts::default(),
            parts: Vec::new(),
        };
        let now = self.world.now();
        let id = self.world.store().next_id("version");
        self.change(bucket, |bucket| {
            bucket.put(key, id, object, now);
        });
    }

    /// The keys of the current objects, in order.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let store = self.world.store();
        let bucket = store.buckets.get(bucket);
        let keys = bucket
            .into_iter()
            .flat_map(|bucket| bucket.keys.keys().filter(|key| bucket.current(key).is_some()).cloned());
        keys.collect()
    }

    /// The current object, with its body.
    ///
    /// # Panics
    /// Its body was discarded, or the file it lies in cannot be read.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Stored> {
        let (object, modified) = {
            let store = self.world.store();
            let (version, object) = store.buckets.get(bucket)?.current(key)?;
            (Arc::clone(object), version.modified)
        };
        #[expect(clippy::expect_used, reason = "tests ask, and end on it")]
        let body = object.body.read().expect("a body that is kept");
        let checksum = object.checksum.as_ref();
        Some(Stored {
            body,
            etag: object.etag.clone(),
            content_type: object.facts.content_type.clone(),
            metadata: object.facts.metadata.clone(),
            tags: object.facts.tags.clone(),
            storage_class: object.facts.storage_class.clone(),
            checksum: checksum
                .map(|sum| (sum.algorithm.name().to_owned(), sum.kind.name().to_owned(), sum.value.clone())),
            parts: object.parts.iter().map(|part| part.size).collect(),
            modified: modified.into(),
        })
    }

    /// The keys of unfinished uploads, in order.
    pub fn unfinished(&self, bucket: &str) -> Vec<String> {
        let store = self.world.store();
        let mut keys: Vec<_> = store
            .uploads
            .values()
            .filter(|upload| upload.bucket == bucket)
            .map(|upload| upload.key.clone())
            .collect();
        keys.sort();
        keys
    }

    /// Takes the checksum from an object, as those have none that S3 stored before it added one to all.
    /// <https://aws.amazon.com/blogs/aws/introducing-default-data-integrity-protections-for-new-objects-in-amazon-s3/>
    pub fn forget_checksum(&self, bucket: &str, key: &str) {
        self.change_object(bucket, key, |object| object.checksum = None);
    }

    /// Changes a byte of an object and nothing else of it.
    ///
    /// # Panics
    /// The object is empty, or its body was discarded.
    pub fn corrupt(&self, bucket: &str, key: &str, position: usize) {
        self.change_object(bucket, key, |object| {
            #[expect(clippy::expect_used, reason = "tests ask, and end on it")]
            let mut body = object.body.read().expect("a body that is kept");
            if let Some(byte) = body.get_mut(position) {
                *byte ^= 1;
            }
            object.body = Body::from(Bytes::from(body));
        });
    }

    /// Sets when the current object was last modified.
    pub fn set_modified(&self, bucket: &str, key: &str, time: SystemTime) {
        self.change(bucket, |bucket| {
            if let Some(version) = bucket.keys.get_mut(key).and_then(|versions| versions.last_mut()) {
                version.modified = time.into();
            }
        });
    }

    fn change_object(&self, bucket: &str, key: &str, change: impl FnOnce(&mut Object)) {
        self.change(bucket, |bucket| {
            let version = bucket.keys.get_mut(key).and_then(|versions| versions.last_mut());
            if let Some(object) = version.and_then(|version| version.object.as_mut()) {
                change(Arc::make_mut(object));
            }
        });
    }

    fn change(&self, bucket: &str, change: impl FnOnce(&mut Bucket)) {
        #[expect(clippy::expect_used, reason = "tests ask, and end on it")]
        change(self.world.store().buckets.get_mut(bucket).expect("a bucket that was made"));
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}
