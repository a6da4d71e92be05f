//! The S3 double as a server of its own, for measurements and for use by hand. It prints its address and serves until it is ended.

use std::io::{self, Write as _};

use clap::Parser as _;
use testkit::s3::{Bodies, Double, Options};

#[derive(clap::Parser)]
#[command(name = "s3-double")]
struct Arguments {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Bucket to begin with; may be repeated
    #[arg(long, value_name = "NAME")]
    bucket: Vec<String>,
    /// Checksum and forget what is larger, in bytes, and make up entity tags
    #[arg(long, value_name = "BYTES")]
    discard_above: Option<usize>,
    /// Least size of every part but the last, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Options::default().smallest_part)]
    smallest_part: u64,
    /// Largest object that is copied in one piece, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Options::default().largest_copy)]
    largest_copy: u64,
    /// Most entries of a page of any list
    #[arg(long, value_name = "NUMBER", default_value_t = Options::default().page)]
    page: usize,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let given = Arguments::parse();
    let options = Options {
        smallest_part: given.smallest_part,
        largest_copy: given.largest_copy,
        page: given.page,
        bodies: given.discard_above.map_or(Bodies::Keep, Bodies::DiscardAbove),
        md5: given.discard_above.is_none(),
        port: given.port,
        ..Options::default()
    };
    let double = Double::start(options).await?;
    for bucket in &given.bucket {
        double.create_bucket(bucket);
    }
    let mut out = io::stdout();
    writeln!(out, "{}", double.url())?;
    out.flush()?;
    std::future::pending().await
}
