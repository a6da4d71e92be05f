//! Judges what was seen of a stored dump: pure.

use std::collections::BTreeSet;

use postgres::{Manifest, Rung};
use s3::{Object, Sum};
use serde::{Deserialize, Serialize};

use crate::readback::Read;

/// The tables of a database, as the catalogue or a dump's table of contents names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tables {
    pub(crate) count: usize,
    /// CRC-64/NVME over the sorted object ids: equal sets have equal digests.
    pub(crate) digest: String,
}

impl Tables {
    pub(crate) fn of(oids: impl IntoIterator<Item = u32>) -> Self {
        let oids: BTreeSet<u32> = oids.into_iter().collect();
        let bytes: Vec<u8> = oids.iter().flat_map(|oid| oid.to_be_bytes()).collect();
        Self { count: oids.len(), digest: s3::base64(crc_fast::crc64_nvme(&bytes)) }
    }

    /// The tables in what `pg_restore --list` prints: `215; 1259 16386 TABLE public surveys rally`, where 1259 is the
    /// object id of the catalogue `pg_class` and 16386 the table's own.
    pub(crate) fn listed(listing: &str) -> Self {
        Self::of(listing.lines().filter_map(|line| {
            let (_, rest) = line.split_once("; ")?;
            let mut words = rest.split(' ');
            let (catalogue, oid, kind) = (words.next()?, words.next()?, words.next()?);
            // `TABLE DATA` and `TABLE ATTACH` are entries of their own; their catalogue is another.
            (catalogue == "1259" && kind == "TABLE").then(|| oid.parse().ok())?
        }))
    }
}

/// A dump that was verified up to a rung.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Proof {
    pub(crate) rung: Rung,
    /// What was compared, for a person.
    pub(crate) by: String,
}

/// Whether an object is the one that a manifest describes.
pub(crate) fn whole(manifest: &Manifest, object: &Object) -> bool {
    object.bytes == manifest.bytes
        && object.etag.trim_matches('"') == manifest.etag.trim_matches('"')
        && object.crc64nvme.as_ref().is_none_or(|crc| *crc == manifest.checksum_crc64nvme)
}

/// Whether the object is there as it was sent. Says by what it was compared.
pub(crate) fn present(sent: &Sum, stored: &Object) -> Result<&'static str, String> {
    if stored.bytes != sent.bytes {
        return Err(format!("{} bytes were sent, and the object has {}", sent.bytes, stored.bytes));
    }
    match &stored.crc64nvme {
        Some(crc) if *crc != sent.crc64nvme => {
            Err(format!("the CRC-64/NVME of what was sent is {}, the object's is {crc}", sent.crc64nvme))
        }
        Some(_) => Ok("size and CRC-64/NVME"),
        None => Ok("size; the store keeps no checksum of the whole object"),
    }
}

/// Whether the dump's table of contents names the tables that the catalogue has.
pub(crate) fn contents(tables: &Tables, read: &Read) -> Result<(), String> {
    read.reader.clone().map_err(|why| format!("its table of contents can't be read: {why}"))?;
    let listed = Tables::listed(&String::from_utf8_lossy(&read.printed));
    if listed == *tables {
        Ok(())
    } else if listed.count == tables.count {
        Err(format!("the dump has {} tables, as the database has, but not the same", listed.count))
    } else {
        Err(format!("the dump has {} tables, the database has {}", listed.count, tables.count))
    }
}

/// Whether what was read back is what was sent.
pub(crate) fn read_back(sent: &Sum, read: &Read) -> Result<(), String> {
    if read.sum.bytes != sent.bytes {
        return Err(format!("{} bytes were sent, and {} came back", sent.bytes, read.sum.bytes));
    }
    if read.sum.sha256 != sent.sha256 {
        return Err(format!(
            "the SHA-256 of what was sent is {}, of what came back {}",
            sent.sha256, read.sum.sha256
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `pg_restore --list` of PostgreSQL 15.18 on a dump of two tables, one partitioned, with a view and a sequence.
    const LISTING: &str = "\
;
; Archive created at 2026-11-21 09:00:00 UTC
;     dbname: rally
;     TOC Entries: 20
;
; Selected TOC Entries:
;
215; 1259 16386 TABLE public surveys postgres
216; 1259 16390 TABLE public answers postgres
217; 1259 16393 TABLE public answers_2026 postgres
218; 1259 16399 VIEW public open_surveys postgres
214; 1259 16385 SEQUENCE public surveys_id_seq postgres
3195; 0 0 TABLE ATTACH public answers_2026 postgres
3330; 0 16386 TABLE DATA public surveys postgres
3200; 1259 16401 INDEX public surveys_title_idx postgres
";

    fn sum(bytes: u64, sha256: &str) -> Sum {
        Sum { bytes, sha256: sha256.into(), crc64nvme: "crc".into() }
    }

    fn stored(bytes: u64, crc64nvme: Option<&str>) -> Object {
        Object { crc64nvme: crc64nvme.map(str::to_owned), ..Object::bare(bytes, "e") }
    }

    fn read(sum: Sum, reader: Result<(), String>, printed: &str) -> Read {
        Read { sum, unpacked: Ok(()), reader, said: crate::child::Said::default(), printed: printed.into() }
    }

    #[test]
    fn an_object_of_another_size_or_checksum_is_not_the_one_that_was_sent() {
        assert_eq!(present(&sum(7, "s"), &stored(7, Some("crc"))), Ok("size and CRC-64/NVME"));
        assert!(present(&sum(7, "s"), &stored(7, None)).unwrap().starts_with("size;"));
        assert!(present(&sum(7, "s"), &stored(6, None)).unwrap_err().contains("the object has 6"));
        assert!(present(&sum(7, "s"), &stored(7, Some("other"))).is_err());
    }

    #[test]
    fn the_tables_of_the_listing_are_compared_one_by_one() {
        let whole = Tables::of([16393, 16386, 16390]);
        let listing = |text: &str| read(sum(1, "s"), Ok(()), text);
        assert_eq!(contents(&whole, &listing(LISTING)), Ok(()));
        let missing = contents(&Tables::of([16386, 16390, 16393, 16500]), &listing(LISTING)).unwrap_err();
        assert_eq!(missing, "the dump has 3 tables, the database has 4");
        assert!(contents(&Tables::of([1, 2, 3]), &listing(LISTING)).unwrap_err().contains("not the same"));
        let unreadable =
            read(sum(1, "s"), Err("input file does not appear to be a valid archive".into()), "");
        assert!(contents(&whole, &unreadable).is_err());
    }

    #[test]
    fn reading_back_finds_what_the_listing_does_not() {
        let sent = sum(9, "aa");
        assert_eq!(read_back(&sent, &read(sum(9, "aa"), Ok(()), "")), Ok(()));
        assert!(read_back(&sent, &read(sum(8, "aa"), Ok(()), "")).unwrap_err().contains("8 came back"));
        assert!(read_back(&sent, &read(sum(9, "ab"), Ok(()), "")).unwrap_err().contains("SHA-256"));
    }
}
