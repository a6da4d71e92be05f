//! The arguments, and which of them belong to which action.

use std::path::PathBuf;
use std::time::Duration;

use aws::AwsArgs;
use kit::Failure;
use postgres::{PgArgs, Rung};

use crate::key::Destination;
use crate::wal::Tool;

/// The arguments of `backup-db`.
#[expect(clippy::struct_excessive_bools, reason = "flags are independent of each other")]
#[derive(clap::Args, Clone, Debug)]
#[command(about = "Back a PostgreSQL database up to S3, verified, with a manifest", long_about = include_str!("help.md"))]
pub struct Args {
    /// What to do
    #[arg(long, value_enum, default_value = "back-up", value_name = "VERB")]
    pub(crate) action: Act,

    /// How the backup is made
    #[arg(long, value_enum, default_value = "dump", value_name = "MODE")]
    pub(crate) mode: Mode,

    /// Where the backups lie, as <s3://BUCKET/PREFIX>; for restore only with `--backup latest`
    #[arg(long, value_name = "URI")]
    pub(crate) to: Option<Destination>,

    /// back-up, restore: the `pg_dump` to use, and the programs beside it [default: the one on PATH, or the nearest below
    /// /usr/lib/postgresql that can dump the server]
    #[arg(long, value_name = "FILE")]
    pub(crate) pg_dump: Option<PathBuf>,

    /// back-up: names this backup: a verified one of the same id is not made again [default: in a GitHub job its run, job
    /// and step; elsewhere a new one each time]
    #[arg(long, value_name = "ID")]
    pub(crate) backup_id: Option<String>,

    /// back-up: how old a backup of the same id may be to count as made, as in 30m [default: 1h]; prune: how old the newest
    /// verified one may be [default: 25h]; restore: how old the backup may be [default: any]
    #[arg(long, value_name = "DURATION", value_parser = kit::parse_duration)]
    pub(crate) max_age: Option<Duration>,

    /// back-up: how far the backup is verified [default: read-back]
    #[arg(long, value_enum, value_name = "RUNG")]
    pub(crate) verify: Option<Verify>,

    /// back-up: how the data are compressed [default: zstd]
    #[arg(long, value_enum, value_name = "METHOD")]
    pub(crate) compression: Option<Compression>,

    /// back-up: tables with more rows than this, as the server estimates, are not counted; 0 counts none [default: 10000000]
    #[arg(long, value_name = "ROWS")]
    pub(crate) count_limit: Option<u64>,

    /// back-up: leave out the roles and tablespaces
    #[arg(long)]
    pub(crate) no_globals: bool,

    /// back-up: keep the passwords of the roles too, as the server stores them; needs `--age-recipient`
    #[arg(long)]
    pub(crate) role_passwords: bool,

    /// back-up: a public key of age that the roles and their passwords, or the secrets of `vault-export`, are encrypted to;
    /// may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) age_recipient: Vec<String>,

    /// back-up: accept a database or dump of less than half the last backup's size
    #[arg(long)]
    pub(crate) allow_shrink: bool,

    /// back-up: where the scratch server of `--verify restored` keeps its data [default: TMPDIR or /tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch_dir: Option<PathBuf>,

    /// back-up: a server to prove the backup on instead of a scratch one, as <postgresql://USER@HOST/DBNAME>; it gets a
    /// database of its own there, which is dropped afterwards
    ///
    /// Its password comes from `PROVE_PGPASSWORD`, a password file (PGPASSFILE, ~/.pgpass) or a service file; of the other
    /// PG* variables none counts here.
    #[arg(long, value_name = "URL")]
    pub(crate) prove_into: Option<String>,

    /// back-up, restore: a file of SQL queries that must each return one row of one value, true, in what was restored
    #[arg(long, value_name = "FILE")]
    pub(crate) assert: Option<PathBuf>,

    /// list, prune, restore: the database whose backups are meant [default: --dbname or PGDATABASE; list: all of them]
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Option<String>,

    /// restore: the URI of the backup's manifest, or `latest`
    #[arg(long, value_name = "URI")]
    pub(crate) backup: Option<String>,

    /// restore: the new database to restore into
    #[arg(long, value_name = "NAME")]
    pub(crate) into: Option<String>,

    /// base, restore: the folder to unpack into, which must be new or empty
    #[arg(long, value_name = "DIR")]
    pub(crate) into_dir: Option<PathBuf>,

    /// restore: leave owners and privileges out, for a server without the roles
    #[arg(long)]
    pub(crate) no_owner: bool,

    /// prune: how many verified backups are kept at least
    #[arg(long, value_name = "NUMBER")]
    pub(crate) keep: Option<u32>,

    /// prune: nothing younger than this is deleted, as in 30d [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = kit::parse_duration)]
    pub(crate) keep_for: Option<Duration>,

    /// prune, restore: what counts as verified [default: read-back]
    #[arg(long, value_enum, value_name = "RUNG")]
    pub(crate) min_rung: Option<Rung>,

    /// rds-snapshot: the RDS instance
    #[arg(long, value_name = "ID", conflicts_with = "db_cluster")]
    pub(crate) db_instance: Option<String>,

    /// rds-snapshot: the Aurora or Multi-AZ cluster
    #[arg(long, value_name = "ID")]
    pub(crate) db_cluster: Option<String>,

    /// wal-e, wal-g: the server's data folder, on this machine; `wal-g` without it copies the server over its connection
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// wal-e, wal-g: the program [default: the one on PATH]
    #[arg(long, value_name = "FILE")]
    pub(crate) wal_tool: Option<PathBuf>,

    /// vault-export: the address of the server [default: `VAULT_ADDR`]
    #[arg(long, value_name = "URL")]
    pub(crate) vault_addr: Option<String>,

    /// vault-export: the path of the key/value engine [default: secret]
    #[arg(long, value_name = "PATH")]
    pub(crate) vault_mount: Option<String>,

    #[command(flatten)]
    pub(crate) pg: PgArgs,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// The verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Act {
    /// Make a backup
    BackUp,
    /// Show the backups that are there
    List,
    /// Restore a backup into a new database
    Restore,
    /// Delete backups that are not needed any more
    Prune,
}

impl Act {
    const fn word(self) -> &'static str {
        match self {
            Self::BackUp => "back-up",
            Self::List => "list",
            Self::Restore => "restore",
            Self::Prune => "prune",
        }
    }
}

/// How a backup is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// `pg_dump` of one database, which any later version can restore
    Dump,
    /// `pg_basebackup` of a whole server, which only its own major version can restore
    Base,
    /// `wal-e backup-push` on the server's own machine
    #[value(name = "wal-e")]
    WalE,
    /// `wal-g backup-push`, likewise
    #[value(name = "wal-g")]
    WalG,
    /// A snapshot of an RDS instance or an Aurora cluster
    RdsSnapshot,
    /// The secrets of a key/value engine of Vault, encrypted to `--age-recipient`
    VaultExport,
}

/// How far a dump is verified; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Verify {
    /// The object is there, with the size and the checksum of what was sent
    Present,
    /// Its table of contents names the tables of the catalogue
    Contents,
    /// It is read back whole: the same SHA-256, and `pg_restore` reads it to its end
    ReadBack,
    /// It is restored into a scratch server, and the rows and objects are counted there
    Restored,
}

impl From<Verify> for Rung {
    fn from(verify: Verify) -> Self {
        match verify {
            Verify::Present => Self::Present,
            Verify::Contents => Self::Contents,
            Verify::ReadBack => Self::ReadBack,
            Verify::Restored => Self::Restored,
        }
    }
}

/// What the data are compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    /// By `pg_dump` where it can; else on the way, by several threads: the key then ends in .dump.zst
    Zstd,
    /// By `pg_dump`, at its own level
    Gzip,
    /// Not at all
    None,
}

impl Args {
    /// Refuses flags that mean nothing for the action: who gives one believes that it does something.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        use Act::{BackUp, List, Prune, Restore};
        match self.mode {
            Mode::Dump => {}
            Mode::Base => return self.check_base(),
            Mode::WalE => return self.check_wal(Tool::WalE),
            Mode::WalG => return self.check_wal(Tool::WalG),
            Mode::RdsSnapshot => return self.check_rds(),
            Mode::VaultExport => return self.check_vault(),
        }
        let flags: [(&str, bool, &[Act]); 23] = [
            ("data-dir or --wal-tool", self.names_wal(), &[]),
            ("into-dir", self.into_dir.is_some(), &[]),
            ("db-instance or --db-cluster", self.names_rds(), &[]),
            ("vault-addr or --vault-mount", self.vault_addr.is_some() || self.vault_mount.is_some(), &[]),
            ("pg-dump", self.pg_dump.is_some(), &[BackUp, Restore]),
            ("backup-id", self.backup_id.is_some(), &[BackUp]),
            ("max-age", self.max_age.is_some(), &[BackUp, Prune, Restore]),
            ("verify", self.verify.is_some(), &[BackUp]),
            ("compression", self.compression.is_some(), &[BackUp]),
            ("count-limit", self.count_limit.is_some(), &[BackUp]),
            ("no-globals", self.no_globals, &[BackUp]),
            ("role-passwords", self.role_passwords, &[BackUp]),
            ("age-recipient", !self.age_recipient.is_empty(), &[BackUp]),
            ("allow-shrink", self.allow_shrink, &[BackUp]),
            ("scratch-dir", self.scratch_dir.is_some(), &[BackUp]),
            ("prove-into", self.prove_into.is_some(), &[BackUp]),
            ("assert", self.assert.is_some(), &[BackUp, Restore]),
            ("database", self.database.is_some(), &[List, Prune, Restore]),
            ("backup", self.backup.is_some(), &[Restore]),
            ("into", self.into.is_some(), &[Restore]),
            ("no-owner", self.no_owner, &[Restore]),
            ("keep", self.keep.is_some() || self.keep_for.is_some(), &[Prune]),
            ("min-rung", self.min_rung.is_some(), &[Prune, Restore]),
        ];
        for (name, given, actions) in flags {
            if given && !actions.contains(&self.action) {
                let words: Vec<&str> = actions.iter().map(|action| action.word()).collect();
                return Err(Failure::usage(format!("use --{name} with --action {}", self.action.word()))
                    .because(if words.is_empty() {
                        "it belongs to another --mode".to_owned()
                    } else {
                        format!("it belongs to {}", words.join(" and "))
                    })
                    .help("leave it out, or say another --action"));
            }
        }
        let pair = |given: bool, flag: &str, needs: &str| {
            if given {
                Err(Failure::usage(format!("use {flag}")).because(format!("it needs {needs}")))
            } else {
                Ok(())
            }
        };
        let restored = self.verify == Some(Verify::Restored);
        pair(
            self.role_passwords && self.age_recipient.is_empty(),
            "--role-passwords",
            "--age-recipient: passwords are stored encrypted or not at all",
        )?;
        pair(
            self.role_passwords && self.no_globals,
            "--role-passwords",
            "the roles, which --no-globals leaves out",
        )?;
        pair(
            !self.age_recipient.is_empty() && !self.role_passwords,
            "--age-recipient",
            "--role-passwords, whose result it encrypts",
        )?;
        pair(self.prove_into.is_some() && !restored, "--prove-into", "--verify restored")?;
        pair(
            self.scratch_dir.is_some() && (!restored || self.prove_into.is_some()),
            "--scratch-dir",
            "--verify restored without --prove-into",
        )?;
        pair(
            restored && self.count_limit == Some(0),
            "--verify restored",
            "counted rows to compare with, and --count-limit 0 counts none",
        )?;
        pair(self.action == BackUp && self.assert.is_some() && !restored, "--assert", "--verify restored")?;
        pair(self.action == Prune && self.keep.is_none(), "--action prune", "--keep NUMBER")?;
        pair(self.keep == Some(0), "--keep 0", "at least 1: the last backup is never deleted")?;
        pair(
            self.action == Restore && self.backup.is_none(),
            "--action restore",
            "--backup MANIFEST-URI, or --backup latest",
        )?;
        pair(
            self.action == Restore && self.into.is_none(),
            "--action restore",
            "--into NAME, a new database",
        )?;
        let latest = self.backup.as_deref() == Some("latest");
        pair(
            self.to.is_none() && (self.action != Restore || latest),
            "this action",
            "--to s3://BUCKET/PREFIX, where the backups lie",
        )
    }

    fn names_rds(&self) -> bool {
        self.db_instance.is_some() || self.db_cluster.is_some()
    }

    /// The other modes take few flags; those of a dump would do nothing.
    fn refuse_dump_flags(&self, mode: &str) -> Result<(), Failure> {
        if self.action != Act::BackUp {
            return Err(refuse(
                &format!("--action {}", self.action.word()),
                mode,
                "it is made and taken back by --undo, no more",
                "leave --action out; the output restore-command says how to restore",
            ));
        }
        let flags = [
            ("--pg-dump", self.pg_dump.is_some()),
            ("--verify", self.verify.is_some()),
            ("--compression", self.compression.is_some()),
            ("--count-limit", self.count_limit.is_some()),
            ("--no-globals", self.no_globals),
            ("--role-passwords", self.role_passwords),
            ("--allow-shrink", self.allow_shrink),
            ("--scratch-dir", self.scratch_dir.is_some()),
            ("--prove-into", self.prove_into.is_some()),
            ("--assert", self.assert.is_some()),
            ("--database", self.database.is_some()),
            ("--backup", self.backup.is_some()),
            ("--into", self.into.is_some()),
            ("--into-dir", self.into_dir.is_some()),
            ("--no-owner", self.no_owner),
            ("--keep", self.keep.is_some()),
            ("--keep-for", self.keep_for.is_some()),
            ("--min-rung", self.min_rung.is_some()),
        ];
        match flags.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(refuse(flag, mode, "it belongs to --mode dump", "leave it out")),
            None => Ok(()),
        }
    }

    /// A base backup is of the whole server: what is about one database or its rows does nothing here.
    fn check_base(&self) -> Result<(), Failure> {
        use Act::{BackUp, List, Prune, Restore};
        let mode = "base";
        let flags: [(&str, bool, &[Act]); 23] = [
            ("--data-dir or --wal-tool", self.names_wal(), &[]),
            ("--db-instance or --db-cluster", self.names_rds(), &[]),
            ("--vault-addr or --vault-mount", self.vault_addr.is_some() || self.vault_mount.is_some(), &[]),
            ("--count-limit", self.count_limit.is_some(), &[]),
            ("--no-globals", self.no_globals, &[]),
            ("--role-passwords", self.role_passwords, &[]),
            ("--age-recipient", !self.age_recipient.is_empty(), &[]),
            ("--prove-into", self.prove_into.is_some(), &[]),
            ("--assert", self.assert.is_some(), &[]),
            ("--database", self.database.is_some(), &[]),
            ("--into", self.into.is_some(), &[]),
            ("--no-owner", self.no_owner, &[]),
            ("--pg-dump", self.pg_dump.is_some(), &[BackUp]),
            ("--backup-id", self.backup_id.is_some(), &[BackUp]),
            ("--verify", self.verify.is_some(), &[BackUp]),
            ("--compression", self.compression.is_some(), &[BackUp]),
            ("--allow-shrink", self.allow_shrink, &[BackUp]),
            ("--scratch-dir", self.scratch_dir.is_some(), &[BackUp]),
            ("--max-age", self.max_age.is_some(), &[BackUp, Prune, Restore]),
            ("--keep", self.keep.is_some() || self.keep_for.is_some(), &[Prune]),
            ("--min-rung", self.min_rung.is_some(), &[Prune, Restore]),
            ("--backup", self.backup.is_some(), &[Restore]),
            ("--into-dir", self.into_dir.is_some(), &[Restore]),
        ];
        for (flag, given, actions) in flags {
            if given && !actions.contains(&self.action) {
                let words: Vec<&str> = actions.iter().map(|action| action.word()).collect();
                return Err(if words.is_empty() {
                    refuse(
                        flag,
                        mode,
                        "it is about one database, or belongs to another --mode",
                        "leave it out",
                    )
                } else {
                    let why = format!("it belongs to --action {}", words.join(" and "));
                    refuse(flag, mode, &why, "leave it out, or say another --action")
                });
            }
        }
        let restored = self.verify == Some(Verify::Restored);
        let latest = self.backup.as_deref() == Some("latest");
        let needs = [
            (
                self.compression == Some(Compression::Gzip),
                "--compression gzip",
                "it is compressed with zstd or not at all",
                "say zstd or none",
            ),
            (
                self.scratch_dir.is_some() && !restored,
                "--scratch-dir",
                "it belongs to --verify restored",
                "leave it out, or ask for that",
            ),
            (
                self.action == Prune && self.keep.is_none(),
                "--action prune",
                "nothing says how many verified backups are kept",
                "give --keep NUMBER",
            ),
            (self.keep == Some(0), "--keep 0", "the last backup is never deleted", "keep at least 1"),
            (
                self.action == Restore && self.backup.is_none(),
                "--action restore",
                "nothing says which backup",
                "give --backup MANIFEST-URI, or --backup latest",
            ),
            (
                self.action == Restore && self.into_dir.is_none(),
                "--action restore",
                "nothing says where to",
                "give --into-dir DIR, a new or empty folder",
            ),
            (
                self.to.is_none() && (matches!(self.action, BackUp | List | Prune) || latest),
                "no --to",
                "nothing says where the backups lie",
                "give --to s3://BUCKET/PREFIX",
            ),
        ];
        match needs.into_iter().find(|(wrong, ..)| *wrong) {
            Some((_, what, why, help)) => Err(refuse(what, mode, why, help)),
            None => Ok(()),
        }
    }

    fn names_wal(&self) -> bool {
        self.data_dir.is_some() || self.wal_tool.is_some()
    }

    /// The tool does all but the backup itself.
    fn check_wal(&self, tool: Tool) -> Result<(), Failure> {
        let mode = tool.word();
        if self.action != Act::BackUp {
            let how = format!(
                "{mode} does that itself: `{mode} backup-list`, `{mode} backup-fetch`, `{mode} delete`"
            );
            return Err(refuse(
                &format!("--action {}", self.action.word()),
                mode,
                &how,
                "leave --action out, or call the tool",
            ));
        }
        self.refuse_dump_flags(mode)?;
        let others = [
            ("--db-instance or --db-cluster", self.names_rds()),
            ("--vault-addr or --vault-mount", self.vault_addr.is_some() || self.vault_mount.is_some()),
            ("--age-recipient", !self.age_recipient.is_empty()),
        ];
        if let Some((flag, _)) = others.into_iter().find(|(_, given)| *given) {
            return Err(refuse(flag, mode, "it belongs to another --mode", "leave it out"));
        }
        if tool == Tool::WalE && (self.backup_id.is_some() || self.max_age.is_some()) {
            return Err(refuse(
                "--backup-id or --max-age",
                mode,
                "wal-e keeps no id with a backup: each run makes a new one",
                "leave it out",
            ));
        }
        if tool == Tool::WalE && self.data_dir.is_none() {
            return Err(refuse(
                "no --data-dir",
                mode,
                "wal-e reads the server's files",
                "give the folder that `SHOW data_directory` says",
            ));
        }
        Ok(())
    }

    fn check_vault(&self) -> Result<(), Failure> {
        let mode = "vault-export";
        self.refuse_dump_flags(mode)?;
        if self.names_rds() {
            return Err(refuse(
                "--db-instance or --db-cluster",
                mode,
                "it belongs to --mode rds-snapshot",
                "leave it out",
            ));
        }
        if self.names_wal() {
            return Err(refuse(
                "--data-dir or --wal-tool",
                mode,
                "it belongs to --mode wal-g and wal-e",
                "leave it out",
            ));
        }
        if self.to.is_none() {
            return Err(refuse(
                "no --to",
                mode,
                "nothing says where the export goes",
                "give --to s3://BUCKET/PREFIX",
            ));
        }
        if self.age_recipient.is_empty() {
            return Err(refuse(
                "no --age-recipient",
                mode,
                "secrets are stored encrypted or not at all",
                "make a pair with age-keygen, keep its secret key where the backups are not, and give the public one",
            ));
        }
        Ok(())
    }

    fn check_rds(&self) -> Result<(), Failure> {
        let mode = "rds-snapshot";
        self.refuse_dump_flags(mode)?;
        let others = [
            ("--to", self.to.is_some(), "RDS keeps the snapshot itself"),
            ("--age-recipient", !self.age_recipient.is_empty(), "RDS encrypts it as it does the database"),
            ("--vault-addr", self.vault_addr.is_some(), "it belongs to --mode vault-export"),
            ("--vault-mount", self.vault_mount.is_some(), "it belongs to --mode vault-export"),
            ("--data-dir or --wal-tool", self.names_wal(), "it belongs to --mode wal-g and wal-e"),
        ];
        if let Some((flag, _, why)) = others.into_iter().find(|(_, given, _)| *given) {
            return Err(refuse(flag, mode, why, "leave it out"));
        }
        if !self.names_rds() {
            let (why, help) =
                ("nothing says what the snapshot is of", "give --db-instance ID or --db-cluster ID");
            return Err(refuse("no database", mode, why, help));
        }
        Ok(())
    }

    /// The rung that a backup has to have to count as verified.
    pub(crate) fn min_rung(&self) -> Rung {
        self.min_rung.unwrap_or(Rung::ReadBack)
    }
}

fn refuse(what: &str, mode: &str, why: &str, help: &str) -> Failure {
    Failure::usage(format!("use {what} with --mode {mode}")).because(why).help(help)
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use kit::Code;

    use super::*;

    fn check(words: &str) -> Result<(), String> {
        let argv = ["backup-db"].into_iter().chain(words.split_whitespace());
        let args = Args::from_arg_matches(&kit::command::<Args>().get_matches_from(argv)).unwrap();
        args.check().map_err(|failure| {
            assert_eq!(failure.code(), Code::Usage);
            format!("{failure}: {}", failure.chain().join("; "))
        })
    }

    #[test]
    fn what_belongs_together_passes() {
        for words in [
            "--to s3://b/x",
            "--to s3://b/x --verify restored --assert a.sql --scratch-dir /tmp",
            "--to s3://b/x --verify restored --prove-into postgresql://u@h/d",
            "--to s3://b/x --role-passwords --age-recipient age1x",
            "--action list --to s3://b/x",
            "--action prune --to s3://b/x --keep 3",
            "--action restore --backup s3://b/x.manifest.json --into new",
            "--mode base --to s3://b/x --compression none --verify restored --scratch-dir /tmp",
            "--mode base --action list --to s3://b/x",
            "--mode wal-e --data-dir /data",
            "--mode wal-g --to s3://b/x --backup-id a --max-age 2h",
            "--mode base --action prune --to s3://b/x --keep 3 --max-age 2d",
            "--mode base --action restore --backup s3://b/x.manifest.json --into-dir /srv/new",
        ] {
            assert_eq!(check(words), Ok(()), "{words}");
        }
    }

    #[test]
    fn what_does_not_is_refused_with_what_is_missing() {
        for (words, why) in [
            ("", "--to s3://BUCKET/PREFIX"),
            ("--to s3://b/x --into new", "belongs to restore"),
            ("--action prune --to s3://b/x --keep 3 --backup-id a", "belongs to back-up"),
            ("--to s3://b/x --role-passwords", "--age-recipient"),
            ("--to s3://b/x --age-recipient age1x", "--role-passwords"),
            ("--to s3://b/x --prove-into postgresql://u@h/d", "--verify restored"),
            ("--to s3://b/x --assert a.sql", "--verify restored"),
            ("--to s3://b/x --verify restored --count-limit 0", "counted rows"),
            ("--action prune --to s3://b/x", "--keep NUMBER"),
            ("--action prune --to s3://b/x --keep 0", "at least 1"),
            ("--action restore --into new", "--backup"),
            ("--action restore --backup latest --into new", "--to s3://"),
            ("--action restore --backup latest --to s3://b/x", "--into NAME"),
            ("--to s3://b/x --into-dir /srv/new", "another --mode"),
            ("--mode base", "nothing says where"),
            ("--mode wal-e", "wal-e reads the server's files"),
            ("--mode wal-g --action prune --keep 3", "`wal-g delete`"),
            ("--mode wal-g --verify present", "--mode dump"),
            ("--mode wal-e --data-dir /data --backup-id a", "keeps no id"),
            ("--to s3://b/x --data-dir /data", "another --mode"),
            ("--mode base --to s3://b/x --count-limit 5", "one database"),
            ("--mode base --to s3://b/x --database rally", "one database"),
            ("--mode base --to s3://b/x --compression gzip", "zstd or not at all"),
            ("--mode base --to s3://b/x --scratch-dir /tmp", "--verify restored"),
            ("--mode base --to s3://b/x --keep 3", "belongs to --action prune"),
            ("--mode base --action prune --to s3://b/x", "how many"),
            ("--mode base --action restore --backup latest --into-dir /srv/new", "where the backups lie"),
            ("--mode base --action restore --backup s3://b/x.manifest.json", "where to"),
            ("--mode base --action restore --backup s3://b/x.manifest.json --into new", "one database"),
        ] {
            let said = check(words).unwrap_err();
            assert!(said.contains(why), "{words}: {said}");
        }
    }
}
