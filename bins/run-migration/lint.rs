//! What in a file loses data, or locks a table for as long as it is large: squawk's rules, chosen and weighed.
//!
//! Rules that ask for a style, or for what this step does anyway (time-outs, one transaction), are left out: what fires on
//! every file is read in none. The table is in `docs/migrations.md`.

use std::collections::BTreeMap;

use postgres::ServerVersion;
use serde::Serialize;
use squawk_linter::{Linter, Rule};
use squawk_syntax::SourceFile;

use crate::observe::SeenTable;
use crate::sql::{Script, Statement};

/// Something in a file that a reader of the plan should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The line in the file, from 1.
    pub(crate) line: usize,
    /// squawk's name of the rule (<https://squawkhq.com/docs/rules>), or this step's own.
    pub(crate) rule: String,
    pub(crate) what: String,
    pub(crate) effect: Effect,
    /// The one table that it is about, where its name can be looked up.
    pub(crate) table: Option<String>,
}

/// Why it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Effect {
    /// It throws rows away.
    Loss,
    /// It keeps others from a table for longer, the larger the table is.
    Lock,
    /// It is worth knowing.
    Remark,
}

/// Rewritten or read whole within a fraction of a second.
pub(crate) const SMALL: u64 = 10 << 20;

const LOCKS: [(Rule, &str); 10] = [
    (Rule::ChangingColumnType, "rewrites the table while nobody can read it"),
    (
        Rule::AddingFieldWithDefault,
        "a default that has to be computed rewrites the table while nobody can read it",
    ),
    (Rule::AddingNotNullableField, "reads the whole table while nobody else can"),
    (Rule::ConstraintMissingNotValid, "reads the whole table while nobody can write to it"),
    (Rule::AddingForeignKeyConstraint, "reads the whole table while nobody can write to either one"),
    (Rule::AddingSerialPrimaryKeyField, "rewrites the table and builds an index while nobody can read it"),
    (Rule::DisallowedUniqueConstraint, "builds an index while nobody can read the table"),
    (Rule::RequireConcurrentIndexCreation, "builds the index while nobody can write to the table"),
    (Rule::RequireConcurrentReindex, "builds the index while nobody can write to the table"),
    (Rule::PreferRepack, "rewrites the table while nobody can read it"),
];

const REMARKS: [Rule; 21] = [
    Rule::AddingRequiredField,
    Rule::BanAlterDomainWithAddConstraint,
    Rule::BanAlterIdentity,
    Rule::BanDropConstraint,
    Rule::BanDropDefault,
    Rule::BanDropDomain,
    Rule::BanDropExtension,
    Rule::BanDropFunction,
    Rule::BanDropGeneratedExpression,
    Rule::BanDropNotNull,
    Rule::BanDropType,
    Rule::BanDropView,
    Rule::BanDuplicateColumnAssignments,
    Rule::BanSetSchema,
    Rule::IdentifierTooLong,
    Rule::RenamingColumn,
    Rule::RenamingObject,
    Rule::RenamingTable,
    Rule::RequireConcurrentIndexDeletion,
    Rule::RequireConcurrentPartitionDetach,
    Rule::BanDropDatabase,
];

/// The names of what throws rows away, which this step finds itself.
const LOSSES: [&str; 12] = [
    "ban-drop-column",
    "ban-drop-database",
    "ban-drop-domain",
    "ban-drop-extension",
    "ban-drop-schema",
    "ban-drop-sequence",
    "ban-drop-table",
    "ban-drop-type",
    "delete-without-where",
    "drop-owned",
    "truncate",
    "update-without-where",
];

/// One `--allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allow {
    rule: String,
    file: Option<String>,
}

/// `RULE` or `RULE@FILE`; a name that is no rule would allow nothing.
pub(crate) fn parse_allow(text: &str) -> Result<Allow, String> {
    let (rule, file) = match text.split_once('@') {
        Some((rule, file)) => (rule, Some(file.to_owned())),
        None => (text, None),
    };
    let mut names: Vec<String> = LOSSES.iter().map(|name| (*name).to_owned()).collect();
    names.extend(LOCKS.iter().map(|(rule, _)| rule.to_string()));
    names.sort();
    if names.iter().any(|name| name == rule) && file.as_deref() != Some("") {
        return Ok(Allow { rule: rule.to_owned(), file });
    }
    Err(format!("write it as RULE or RULE@FILE; the rules that refuse are {}", names.join(", ")))
}

/// What stands in a file, in its order.
pub(crate) fn findings(script: &Script, server: ServerVersion) -> Vec<Finding> {
    // A name without its schema means another table once the path is another.
    let moves = script.text.to_ascii_lowercase().contains("search_path");
    let known = |name: Option<&String>| name.filter(|name| !moves || name.contains('.')).cloned();
    let mut found: Vec<Finding> = script
        .statements
        .iter()
        .filter_map(|statement| {
            let loss = statement.destroys.as_ref()?;
            Some(Finding {
                line: statement.line,
                rule: loss.rule.to_owned(),
                what: format!("{} throws data away", loss.what),
                effect: Effect::Loss,
                table: known(loss.table.as_ref()),
            })
        })
        .collect();
    // What the file's author has squawk ignore is no news, but does not let through what is dangerous.
    let heeded = lint(script, &script.text, server);
    let all = lint(script, &script.text.replace("squawk-ignore", "squawk-passed"), server);
    for (rule, message, offset) in &all {
        let statement = script.statements.iter().rfind(|statement| statement.start <= *offset);
        let line = script.text.get(..*offset).unwrap_or_default().matches('\n').count() + 1;
        let of = |effect, what: String| Finding {
            line,
            rule: rule.to_string(),
            what,
            effect,
            table: known(statement.and_then(|statement: &Statement| statement.table.as_ref())),
        };
        if let Some((_, why)) = LOCKS.iter().find(|(lock, _)| lock == rule) {
            found.push(of(Effect::Lock, (*why).to_owned()));
        } else if heeded.iter().any(|(other, _, at)| other == rule && at == offset)
            && !found.iter().any(|finding| finding.line == line && finding.rule == rule.to_string())
        {
            found.push(of(Effect::Remark, message.clone()));
        }
    }
    found.sort_by_key(|finding| finding.line);
    found.dedup();
    found
}

/// squawk descends as deep as brackets and operators go, which is further than the stack of a worker.
const STACK: usize = 256 << 20;

fn lint(script: &Script, text: &str, server: ServerVersion) -> Vec<(Rule, String, usize)> {
    if script.is_deep() {
        return Vec::new();
    }
    std::thread::scope(|scope| {
        let judging = std::thread::Builder::new().stack_size(STACK);
        let judged = judging.spawn_scoped(scope, || judged(script, text, server));
        match judged.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(found)) => found,
            Ok(Err(bug)) => std::panic::resume_unwind(bug),
            // No thread is to be had: nearly every file needs no more stack than there is.
            Err(_) => self::judged(script, text, server),
        }
    })
}

fn judged(script: &Script, text: &str, server: ServerVersion) -> Vec<(Rule, String, usize)> {
    let mut linter = Linter::from(LOCKS.iter().map(|(rule, _)| *rule).chain(REMARKS));
    linter.settings.assume_in_transaction = !script.alone;
    linter.settings.pg_version = server.major().to_string().parse().unwrap_or_default();
    linter
        .lint(&SourceFile::parse(text), text)
        .into_iter()
        .map(|violation| (violation.code, violation.message, usize::from(violation.text_range.start())))
        .collect()
}

impl Finding {
    /// Whether it must be allowed by name, given the tables as they are: nothing is lost of a table that is not there yet
    /// or never had a row, and a small one is not locked for long.
    pub(crate) fn is_dangerous(&self, tables: &BTreeMap<String, SeenTable>) -> bool {
        let seen = self.table.as_ref().and_then(|table| tables.get(table));
        match (self.effect, seen) {
            (Effect::Remark, _) | (_, Some(SeenTable::Absent)) => false,
            (Effect::Loss, Some(SeenTable::Bytes(bytes))) => *bytes > 0,
            (Effect::Lock, Some(SeenTable::Bytes(bytes))) => *bytes > SMALL,
            (Effect::Loss | Effect::Lock, None | Some(SeenTable::Unknown)) => true,
        }
    }

    pub(crate) fn is_allowed(&self, file: &str, allowed: &[Allow]) -> bool {
        allowed
            .iter()
            .any(|allow| allow.rule == self.rule && allow.file.as_deref().is_none_or(|name| name == file))
    }

    /// "line 3: rewrites the table ... (changing-column-type, users has 1.2 GiB)".
    pub(crate) fn text(&self, tables: &BTreeMap<String, SeenTable>) -> String {
        format!("line {}: {}", self.line, self.what(tables))
    }

    fn what(&self, tables: &BTreeMap<String, SeenTable>) -> String {
        let table = self.table.as_ref().map_or_else(String::new, |table| match tables.get(table) {
            Some(SeenTable::Absent) => format!(", {table} is not there yet"),
            Some(SeenTable::Bytes(0)) => format!(", {table} is empty"),
            Some(SeenTable::Bytes(bytes)) => format!(", {table} has {}", kit::size(*bytes)),
            Some(SeenTable::Unknown) | None => format!(", {table}"),
        });
        format!("{} ({}{table})", self.what, self.rule)
    }

    /// Whether there is nothing to say of it: a table that is not there yet or has no row is nobody's.
    fn is_idle(&self, tables: &BTreeMap<String, SeenTable>) -> bool {
        let seen = self.table.as_ref().and_then(|table| tables.get(table));
        match self.effect {
            Effect::Lock => matches!(seen, Some(SeenTable::Absent | SeenTable::Bytes(0))),
            Effect::Loss => seen == Some(&SeenTable::Absent),
            Effect::Remark => false,
        }
    }
}

/// The findings of a file as the plan shows them: what is said of several lines is said once.
pub(crate) fn shown(found: &[Finding], tables: &BTreeMap<String, SeenTable>) -> Vec<String> {
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    for finding in found.iter().filter(|finding| !finding.is_idle(tables)) {
        let (what, line) = (finding.what(tables), finding.line.to_string());
        match said.iter_mut().find(|(other, _)| *other == what) {
            Some((_, lines)) => lines.push(line),
            None => said.push((what, vec![line])),
        }
    }
    said.into_iter()
        .map(|(what, lines)| match lines.as_slice() {
            [line] => format!("line {line}: {what}"),
            lines => format!("lines {}: {what}", lines.join(", ")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::parse;

    fn rules(sql: &str) -> Vec<(usize, String, Effect)> {
        findings(&parse(sql), ServerVersion(150_018))
            .into_iter()
            .map(|finding| (finding.line, finding.rule, finding.effect))
            .collect()
    }

    #[test]
    fn what_locks_or_loses_is_found_with_its_line_and_table() {
        for (sql, rule, effect, table) in [
            ("DROP TABLE old;", "ban-drop-table", Effect::Loss, Some("old")),
            ("TRUNCATE log;", "truncate", Effect::Loss, Some("log")),
            ("UPDATE t SET a = 1;", "update-without-where", Effect::Loss, Some("t")),
            (
                "ALTER TABLE s.t ALTER COLUMN a TYPE bigint;",
                "changing-column-type",
                Effect::Lock,
                Some("s.t"),
            ),
            (
                "ALTER TABLE t ALTER COLUMN a SET NOT NULL;",
                "adding-not-nullable-field",
                Effect::Lock,
                Some("t"),
            ),
            ("CREATE INDEX i ON t (a);", "require-concurrent-index-creation", Effect::Lock, Some("t")),
            (
                "CREATE UNIQUE INDEX ON ONLY \"T\" (a);",
                "require-concurrent-index-creation",
                Effect::Lock,
                Some("\"T\""),
            ),
            (
                "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u (a);",
                "adding-foreign-key-constraint",
                Effect::Lock,
                Some("t"),
            ),
            ("ALTER TABLE t RENAME COLUMN a TO b;", "renaming-column", Effect::Remark, Some("t")),
        ] {
            let found = findings(&parse(&format!("SELECT 1;\n{sql}")), ServerVersion(150_018));
            let found = found.iter().find(|finding| finding.rule == rule);
            let found = found.unwrap_or_else(|| panic!("{sql}: {:?}", rules(sql)));
            assert_eq!((found.line, found.effect, found.table.as_deref()), (2, effect, table), "{sql}");
        }
    }

    #[test]
    fn a_table_of_the_same_file_is_nobody_s_yet_and_style_is_left_alone() {
        assert_eq!(
            rules("CREATE TABLE t (id int, name varchar(10), made timestamp);\nCREATE INDEX i ON t (id);"),
            []
        );
    }

    #[test]
    fn a_comment_of_the_file_silences_a_remark_and_no_danger() {
        let quiet = "-- squawk-ignore renaming-column, changing-column-type\n";
        let found = rules(&format!(
            "{quiet}ALTER TABLE t RENAME COLUMN a TO b;\n{quiet}ALTER TABLE t ALTER COLUMN a TYPE bigint;"
        ));
        assert_eq!(found, [(4, "changing-column-type".to_owned(), Effect::Lock)]);
    }

    #[test]
    fn only_what_is_there_and_large_is_dangerous() {
        let of =
            |effect| Finding { line: 1, rule: "r".into(), what: "w".into(), effect, table: Some("t".into()) };
        for (effect, seen, dangerous) in [
            (Effect::Loss, SeenTable::Absent, false),
            (Effect::Loss, SeenTable::Bytes(0), false),
            (Effect::Loss, SeenTable::Bytes(8192), true),
            (Effect::Loss, SeenTable::Unknown, true),
            (Effect::Lock, SeenTable::Bytes(SMALL), false),
            (Effect::Lock, SeenTable::Bytes(SMALL + 1), true),
            (Effect::Remark, SeenTable::Unknown, false),
        ] {
            let tables = BTreeMap::from([("t".to_owned(), seen)]);
            assert_eq!(of(effect).is_dangerous(&tables), dangerous, "{effect:?} {seen:?}");
        }
        let nameless = Finding { table: None, ..of(Effect::Loss) };
        assert!(nameless.is_dangerous(&BTreeMap::new()));
    }

    #[test]
    fn what_is_said_of_several_lines_is_said_once_and_nothing_of_an_empty_table() {
        let sql = "DROP FUNCTION f();\nDROP FUNCTION g();\nALTER TABLE t ALTER a TYPE bigint;\nALTER TABLE u ALTER a TYPE bigint;";
        let tables = BTreeMap::from([
            ("t".to_owned(), SeenTable::Bytes(0)),
            ("u".to_owned(), SeenTable::Bytes(2 << 20)),
        ]);
        let lines = shown(&findings(&parse(sql), ServerVersion(150_018)), &tables);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("lines 1, 2: "), "{lines:?}");
        assert_eq!(
            lines[1],
            "line 4: rewrites the table while nobody can read it (changing-column-type, u has 2.0 MiB)"
        );
    }

    #[test]
    fn what_is_allowed_is_a_rule_of_these_or_of_one_file() {
        let finding = Finding {
            line: 1,
            rule: "ban-drop-table".into(),
            what: String::new(),
            effect: Effect::Loss,
            table: None,
        };
        let allows = |text: &str| finding.is_allowed("2_b.sql", &[parse_allow(text).unwrap()]);
        assert!(allows("ban-drop-table") && allows("ban-drop-table@2_b.sql"));
        assert!(!allows("ban-drop-table@1_a.sql") && !allows("truncate"));
        for bad in ["drop-table", "ban-drop-table@", ""] {
            assert!(parse_allow(bad).unwrap_err().contains("changing-column-type"), "{bad}");
        }
    }
}
