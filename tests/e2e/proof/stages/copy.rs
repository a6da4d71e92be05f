//! Objects that are copied from one bucket to another: one in one call, one in parts, and a small tree.

use std::path::Path;
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::{Value, json};
use testkit::front::Front;
use testkit::s3::Options;
use tokio::process::Command;

use crate::copy_objects::stage::{MIB, Stage as World, twelve};
use crate::proof::{Case, Stage, started};

pub(super) const CASES: [Case; 3] = [
    Case { step: "copy-objects", does: "copies one object", start: || started(Copy::new(What::One)) },
    Case { step: "copy-objects", does: "copies in parts", start: || started(Copy::new(What::Parts)) },
    Case { step: "copy-objects", does: "copies a tree", start: || started(Copy::new(What::Tree)) },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    One,
    Parts,
    Tree,
}

struct Copy {
    world: World,
    what: What,
}

impl Copy {
    async fn new(what: What) -> Self {
        let world = World::on_double(Options { largest_copy: 5 * MIB as u64, ..Options::default() }).await;
        let double = world.double();
        let long_ago = SystemTime::now() - Duration::from_mins(10);
        let objects: &[(&str, Vec<u8>)] = &match what {
            What::One => vec![("a.tar", b"the whole of Jenkins".to_vec())],
            What::Parts => vec![("a.tar", twelve().into_iter().take(6 * MIB).collect())],
            What::Tree => ["tree/a", "tree/b", "tree/c/d"].map(|key| (key, key.into())).to_vec(),
        };
        for (key, body) in objects {
            double.put(&world.old, key, body.clone());
            double.set_modified(&world.old, key, long_ago);
        }
        double.put(&world.new, "somebodys", "not ours");
        double.set_modified(&world.new, "somebodys", long_ago);
        Self { world, what }
    }

    fn bucket(&self, bucket: &str) -> Value {
        let double = self.world.double();
        let objects: Vec<Value> = double
            .keys(bucket)
            .into_iter()
            .map(|key| {
                let object = double.object(bucket, &key).expect("it is listed");
                json!([
                    key,
                    object.sha256(),
                    object.etag,
                    object.content_type,
                    object.metadata,
                    object.tags,
                    object.checksum,
                    object.parts
                ])
            })
            .collect();
        json!({"objects": objects, "unfinished": double.unfinished(bucket)})
    }
}

impl Stage for Copy {
    fn front(&self) -> Option<&Front> {
        Some(&self.world.front)
    }

    fn dir(&self) -> &Path {
        self.world.dir.path()
    }

    fn cutover(&self, args: &[&str]) -> Command {
        self.world.cutover(args)
    }

    fn args(&self) -> Vec<String> {
        let (key, more) = match self.what {
            What::One => ("a.tar", &[][..]),
            // The smallest parts that S3 takes.
            What::Parts => ("a.tar", &["--multipart-above", "5MiB", "--part-size", "5MiB"][..]),
            What::Tree => ("tree/", &["--tree", "--order", "any"][..]),
        };
        let (from, to) = (self.world.from(key), self.world.to(key));
        let args = [&["copy-objects", "--from", &from, "--to", &to], more].concat();
        args.into_iter().map(str::to_owned).collect()
    }

    fn state(&self) -> BoxFuture<'_, Value> {
        async { json!({"old": self.bucket(&self.world.old), "new": self.bucket(&self.world.new)}) }.boxed()
    }

    fn idempotent(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("s3:CreateMultipartUpload", "an upload that was begun, and has no part yet, is begun anew"),
            ("s3:AbortMultipartUpload", "and the one without parts is put away"),
        ]
    }

    fn concurrent(&self) -> &'static [&'static str] {
        &["s3:UploadPartCopy", "s3:CopyObject"]
    }

    fn told_of_the_run(&self) -> &'static [&'static str] {
        &["copied"]
    }
}
