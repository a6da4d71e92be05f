//! What a major upgrade stumbles over, and what has to be done after one: by version, each with where it is said.
//!
//! The first kind is what `pg_upgrade --check` looks for and SQL can see (`src/bin/pg_upgrade/check.c`).

use serde::Serialize;

/// The newest major version whose release notes these rules know.
pub(super) const NEWEST: u32 = 18;

/// What a rule's finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Weight {
    /// `pg_upgrade` refuses.
    Stumbles,
    /// It has to be rebuilt afterwards.
    Rebuild,
    /// It has to be known.
    Know,
}

/// Where the query is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Once.
    Server,
    /// In every database.
    Database,
}

/// One thing to look for.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: &'static str,
    pub(super) weight: Weight,
    pub(super) scope: Scope,
    /// From the server's version (`server_version_num`) and the wanted major version.
    pub(super) applies: fn(u32, u32) -> bool,
    pub(super) asks: Asks,
    pub(super) says: &'static str,
    pub(super) next: &'static str,
    pub(super) source: &'static str,
}

/// The query of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asks {
    /// It answers with a name in each row.
    Names(&'static str),
    /// The stored columns of these types, and of what is made of them: a query of oids of `pg_type t`.
    Types(&'static str),
}

fn crosses(from: u32, to: u32, version: u32) -> bool {
    from < version && version <= to.saturating_mul(10_000)
}

fn up(from: u32, to: u32) -> bool {
    from / 10_000 < to
}

/// Whether a minor release is one before that which mended something, by major version.
fn before(from: u32, mended: &[u32]) -> bool {
    mended.iter().any(|mended| mended / 10_000 == from / 10_000 && from < *mended)
}

fn of(from: u32, majors: &[u32]) -> bool {
    majors.contains(&(from / 10_000))
}

/// The stored columns of a type, of domains, arrays, composites and ranges of it, and of those in turn.
pub(super) fn types_query(seed: &str) -> String {
    format!(
        "WITH RECURSIVE made_of(part, whole) AS (\
           SELECT typbasetype, oid FROM pg_type WHERE typtype = 'd' \
           UNION ALL SELECT typelem, oid FROM pg_type WHERE typtype = 'b' AND typelem <> 0 \
           UNION ALL SELECT a.atttypid, c.reltype FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             WHERE c.reltype <> 0 AND a.attnum > 0 AND NOT a.attisdropped \
           UNION ALL SELECT rngsubtype, rngtypid FROM pg_range), \
         bad(oid) AS ({seed} UNION SELECT m.whole FROM bad b JOIN made_of m ON m.part = b.oid) \
         SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE a.atttypid IN (SELECT oid FROM bad) AND NOT a.attisdropped \
         AND a.attnum > 0 AND c.relkind IN ('r', 'm', 'i') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
         AND n.nspname !~ '^pg_(toast_)?temp_' ORDER BY 1"
    )
}

const CHECK: &str = "https://www.postgresql.org/docs/current/pgupgrade.html";
const RELEASE_12: &str = "https://www.postgresql.org/docs/release/12.0/";
const RELEASE_14: &str = "https://www.postgresql.org/docs/release/14.0/";
const DROP_COLUMN: &str = "drop the column, or give it another type, and put it back afterwards";

/// Every rule.
pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "prepared-transactions",
        weight: Weight::Stumbles,
        scope: Scope::Server,
        applies: up,
        asks: Asks::Names(
            "SELECT format('%s (of %s, since %s)', gid, owner, prepared::timestamptz(0)) FROM pg_prepared_xacts ORDER BY 1",
        ),
        says: "prepared transactions",
        next: "COMMIT PREPARED or ROLLBACK PREPARED each, in its database",
        source: CHECK,
    },
    Rule {
        id: "closed-databases",
        weight: Weight::Stumbles,
        scope: Scope::Server,
        applies: up,
        asks: Asks::Names(
            "SELECT quote_ident(datname) FROM pg_database WHERE datname <> 'template0' AND (NOT datallowconn OR datconnlimit = -2) ORDER BY 1",
        ),
        says: "databases that nobody can connect to, or whose DROP was broken off",
        next: "ALTER DATABASE ... ALLOW_CONNECTIONS true, or DROP DATABASE",
        source: CHECK,
    },
    Rule {
        id: "open-template0",
        weight: Weight::Stumbles,
        scope: Scope::Server,
        applies: up,
        asks: Asks::Names("SELECT datname FROM pg_database WHERE datname = 'template0' AND datallowconn"),
        says: "template0 allows connections",
        next: "ALTER DATABASE template0 ALLOW_CONNECTIONS false",
        source: CHECK,
    },
    Rule {
        id: "pg-roles",
        weight: Weight::Stumbles,
        scope: Scope::Server,
        applies: |from, to| crosses(from, to, 90_600),
        asks: Asks::Names("SELECT quote_ident(rolname) FROM pg_roles WHERE rolname ~ '^pg_' ORDER BY 1"),
        says: "roles whose names begin with pg_",
        next: "ALTER ROLE ... RENAME TO",
        source: "https://www.postgresql.org/docs/release/9.6.0/",
    },
    Rule {
        id: "invalid-slots",
        weight: Weight::Stumbles,
        scope: Scope::Server,
        applies: |from, to| from >= 170_000 && up(from, to),
        asks: Asks::Names(
            "SELECT quote_ident(slot_name) FROM pg_replication_slots WHERE slot_type = 'logical' AND invalidation_reason IS NOT NULL ORDER BY 1",
        ),
        says: "logical replication slots that are invalid",
        next: "SELECT pg_drop_replication_slot('...')",
        source: "https://www.postgresql.org/docs/17/logical-replication-upgrade.html",
    },
    Rule {
        id: "reg-types",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: up,
        asks: Asks::Types(
            "SELECT oid FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typname IN ('regcollation', 'regconfig', \
             'regdictionary', 'regnamespace', 'regoper', 'regoperator', 'regproc', 'regprocedure')",
        ),
        says: "columns of reg* types, whose numbers are not kept",
        next: DROP_COLUMN,
        source: CHECK,
    },
    Rule {
        id: "system-composite-types",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: up,
        asks: Asks::Types(
            "SELECT t.oid FROM pg_type t WHERE t.typtype = 'c' AND (t.oid < 16384 OR t.typnamespace = to_regnamespace('information_schema'))",
        ),
        says: "columns of the row types of system tables, whose numbers are not kept",
        next: DROP_COLUMN,
        source: CHECK,
    },
    Rule {
        id: "aclitem",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 160_000),
        asks: Asks::Types("SELECT 'pg_catalog.aclitem'::regtype::oid"),
        says: "columns of type aclitem, which has another format from 16 on",
        next: DROP_COLUMN,
        source: CHECK,
    },
    Rule {
        id: "removed-types",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 120_000),
        asks: Asks::Types(
            "SELECT oid FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typname IN ('abstime', 'reltime', 'tinterval') \
             UNION SELECT oid FROM pg_type WHERE typnamespace = to_regnamespace('information_schema') AND typname = 'sql_identifier'",
        ),
        says: "columns of types that 12 has removed or stores in another way (abstime, reltime, tinterval, sql_identifier)",
        next: DROP_COLUMN,
        source: RELEASE_12,
    },
    Rule {
        id: "unknown-type",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 100_000),
        asks: Asks::Types("SELECT 'pg_catalog.unknown'::regtype::oid"),
        says: "columns of type unknown",
        next: DROP_COLUMN,
        source: "https://www.postgresql.org/docs/release/10.0/",
    },
    Rule {
        id: "with-oids",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 120_000),
        asks: Asks::Names(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relhasoids AND n.nspname <> 'pg_catalog' ORDER BY 1",
        ),
        says: "tables WITH OIDS",
        next: "ALTER TABLE ... SET WITHOUT OIDS (it rewrites the table)",
        source: RELEASE_12,
    },
    Rule {
        id: "encoding-conversions",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 140_000),
        asks: Asks::Names(
            "SELECT format('%I.%I', n.nspname, c.conname) FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace \
             WHERE c.oid >= 16384 ORDER BY 1",
        ),
        says: "encoding conversions of one's own",
        next: "DROP CONVERSION, and make them anew with the parameters of 14",
        source: RELEASE_14,
    },
    Rule {
        id: "postfix-operators",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 140_000),
        asks: Asks::Names(
            "SELECT oid::regoperator::text FROM pg_operator WHERE oprright = 0 AND oprleft <> 0 AND oid >= 16384 ORDER BY 1",
        ),
        says: "postfix operators of one's own",
        next: "DROP OPERATOR, and use a prefix operator or a function",
        source: RELEASE_14,
    },
    Rule {
        id: "polymorphic-functions",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 140_000),
        asks: Asks::Names(
            "WITH changed(oid) AS (SELECT p.oid FROM pg_proc p WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace \
               AND p.proname IN ('array_append', 'array_cat', 'array_prepend', 'array_remove', 'array_replace', 'array_position', \
               'array_positions', 'width_bucket') AND p.proargtypes::oid[] && ARRAY['anyarray'::regtype::oid, 'anyelement'::regtype::oid]) \
             SELECT 'aggregate ' || a.aggfnoid::regprocedure::text FROM pg_aggregate a WHERE a.aggfnoid::oid >= 16384 \
               AND (a.aggtransfn::oid IN (SELECT oid FROM changed) OR a.aggfinalfn::oid IN (SELECT oid FROM changed)) \
               AND a.aggtranstype IN ('anyarray'::regtype, 'anyelement'::regtype) \
             UNION ALL SELECT 'operator ' || o.oid::regoperator::text FROM pg_operator o WHERE o.oid >= 16384 \
               AND o.oprcode::oid IN (SELECT oid FROM changed) AND o.oprleft IN ('anyarray'::regtype, 'anyelement'::regtype) ORDER BY 1",
        ),
        says: "aggregates and operators over array functions that take anycompatiblearray from 14 on",
        next: "drop them, and make them anew with anycompatible",
        source: RELEASE_14,
    },
    Rule {
        id: "not-null-inheritance",
        weight: Weight::Stumbles,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 180_000),
        asks: Asks::Names(
            "SELECT format('%I.%I.%I', n.nspname, c.relname, child.attname) FROM pg_inherits i JOIN pg_attribute child ON child.attrelid = i.inhrelid \
             JOIN pg_attribute parent ON parent.attrelid = i.inhparent AND parent.attname = child.attname JOIN pg_class c ON c.oid = i.inhrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE parent.attnum > 0 AND parent.attnotnull AND NOT child.attnotnull ORDER BY 1",
        ),
        says: "columns that may be NULL where the parent table's may not",
        next: "ALTER TABLE ... ALTER ... SET NOT NULL",
        source: "https://www.postgresql.org/docs/release/18.0/",
    },
    Rule {
        id: "hash-indexes",
        weight: Weight::Rebuild,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 100_000),
        asks: Asks::Names(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_am a ON a.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'i' AND a.amname = 'hash' ORDER BY 1",
        ),
        says: "hash indexes, which 10 can't read",
        next: "pg_upgrade makes them invalid and writes a script; --action reindex rebuilds what is invalid",
        source: "https://www.postgresql.org/docs/release/10.0/",
    },
    Rule {
        id: "text-search-and-trigrams",
        weight: Weight::Rebuild,
        scope: Scope::Database,
        applies: |from, to| from >= 150_000 && crosses(from, to, 180_000),
        asks: Asks::Names(
            "SELECT DISTINCT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_opclass o ON o.oid = ANY (i.indclass::oid[]) \
             WHERE (o.opcintype = 'tsvector'::regtype OR o.opcname LIKE '%trgm\\_ops') \
             AND EXISTS (SELECT FROM pg_database WHERE datname = current_database() AND datlocprovider <> 'c') ORDER BY 1",
        ),
        says: "indexes of full text search and pg_trgm in a database whose collation is not libc's: 18 folds their case in another way",
        next: "--action reindex --indexes all, or REINDEX INDEX each",
        source: "https://www.postgresql.org/docs/release/18.0/",
    },
    Rule {
        id: "ltree-gist",
        weight: Weight::Rebuild,
        scope: Scope::Database,
        applies: |from, _| before(from, &[130_007, 140_003]),
        asks: Asks::Names(
            "SELECT DISTINCT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_opclass o ON o.oid = ANY (i.indclass::oid[]) \
             WHERE o.opcname IN ('gist_ltree_ops', 'gist__ltree_ops') ORDER BY 1",
        ),
        says: "GiST indexes on ltree, whose signatures this minor release has wrong",
        next: "rebuild them under 13.7, 14.3 or later",
        source: "https://www.postgresql.org/docs/release/14.3/",
    },
    Rule {
        id: "brin-nulls",
        weight: Weight::Rebuild,
        scope: Scope::Database,
        applies: |from, _| before(from, &[110_021, 120_016, 130_012, 140_009, 150_004]),
        asks: Asks::Names(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_am a ON a.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'i' AND a.amname = 'brin' ORDER BY 1",
        ),
        says: "BRIN indexes, in which this minor release forgets NULLs",
        next: "rebuild them under 11.21, 12.16, 13.12, 14.9, 15.4 or later",
        source: "https://www.postgresql.org/docs/release/15.4/",
    },
    Rule {
        id: "gin-concurrent-updates",
        weight: Weight::Rebuild,
        scope: Scope::Database,
        applies: |from, _| before(from, &[120_018, 130_014, 140_011, 150_006, 160_002]),
        asks: Asks::Names(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_am a ON a.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'i' AND a.amname = 'gin' ORDER BY 1",
        ),
        says: "GIN indexes, which concurrent updates may have damaged under this minor release",
        next: "rebuild them under 12.18, 13.14, 14.11, 15.6, 16.2 or later",
        source: "https://www.postgresql.org/docs/release/16.2/",
    },
    Rule {
        id: "concurrent-builds-of-14",
        weight: Weight::Rebuild,
        scope: Scope::Server,
        applies: |from, _| before(from, &[140_004]),
        asks: Asks::Names("SELECT 'every index that was built CONCURRENTLY (no catalogue says which)'"),
        says: "indexes built CONCURRENTLY under 14.0 to 14.3 may miss rows",
        next: "rebuild them under 14.4 or later, with --indexes all where they are not known",
        source: "https://www.postgresql.org/docs/release/14.4/",
    },
    Rule {
        id: "concurrent-builds-of-14-before",
        weight: Weight::Know,
        scope: Scope::Server,
        applies: |from, _| of(from, &[14]) && !before(from, &[140_004]),
        asks: Asks::Names("SELECT 'of those, any that was not rebuilt since the update to 14.4 or later'"),
        says: "indexes built CONCURRENTLY under 14.0 to 14.3 may miss rows",
        next: "rebuild them if this server ever ran one of these",
        source: "https://www.postgresql.org/docs/release/14.4/",
    },
    Rule {
        id: "lost-slots",
        weight: Weight::Know,
        scope: Scope::Server,
        applies: up,
        asks: Asks::Names(
            "SELECT format('%s (%s)', quote_ident(slot_name), slot_type) FROM pg_replication_slots \
             WHERE slot_type = 'physical' OR current_setting('server_version_num')::int < 170000 ORDER BY 1",
        ),
        says: "replication slots that an upgrade does not carry over",
        next: "stop what reads them, and make them anew afterwards; standbys are upgraded or built anew too",
        source: CHECK,
    },
    Rule {
        id: "subscriptions",
        weight: Weight::Know,
        scope: Scope::Server,
        applies: |from, to| (100_000..170_000).contains(&from) && up(from, to),
        asks: Asks::Names(
            "SELECT quote_ident(d.datname) FROM pg_subscription u JOIN pg_database d ON d.oid = u.subdbid GROUP BY 1 ORDER BY 1",
        ),
        says: "databases with subscriptions, whose state is not carried over from before 17",
        next: "ALTER SUBSCRIPTION ... DISABLE before, REFRESH PUBLICATION after",
        source: "https://www.postgresql.org/docs/17/logical-replication-upgrade.html",
    },
    Rule {
        id: "no-checksums",
        weight: Weight::Know,
        scope: Scope::Server,
        applies: |from, to| crosses(from, to, 180_000),
        asks: Asks::Names("SELECT 'data_checksums is off' WHERE current_setting('data_checksums') = 'off'"),
        says: "initdb of 18 turns data checksums on, and pg_upgrade needs them alike on both sides",
        next: "initdb --no-data-checksums, or pg_checksums --enable on the stopped old server",
        source: "https://www.postgresql.org/docs/release/18.0/",
    },
    Rule {
        id: "functions-without-search-path",
        weight: Weight::Know,
        scope: Scope::Database,
        applies: |from, to| crosses(from, to, 170_000),
        asks: Asks::Names(
            "SELECT DISTINCT format('%s (index %I.%I)', p.oid::regprocedure, n.nspname, c.relname) FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid \
             JOIN pg_language l ON l.oid = p.prolang JOIN pg_class c ON c.oid = d.objid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_proc'::regclass AND c.relkind = 'i' AND p.oid >= 16384 \
             AND l.lanname NOT IN ('internal', 'c') AND NOT coalesce(p.proconfig::text LIKE '%search_path=%', false) ORDER BY 1",
        ),
        says: "functions in indexes without a search_path of their own: from 17 on REINDEX runs them with pg_catalog alone and may fail",
        next: "ALTER FUNCTION ... SET search_path = ..., or qualify the names in them",
        source: "https://www.postgresql.org/docs/release/17.0/",
    },
    Rule {
        id: "views-on-system-tables",
        weight: Weight::Know,
        scope: Scope::Database,
        applies: up,
        asks: Asks::Names(
            "SELECT DISTINCT format('%I.%I (on %s)', n.nspname, v.relname, s.relname) FROM pg_rewrite r JOIN pg_depend d \
             ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass \
             JOIN pg_class s ON s.oid = d.refobjid JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace \
             WHERE v.oid >= 16384 AND v.relkind IN ('v', 'm') AND s.oid < 16384 \
             AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = v.oid AND e.deptype = 'e') ORDER BY 1",
        ),
        says: "views on system tables and views: where the new version has renamed or dropped a column, the upgrade fails at them",
        next: "compare with the release notes; drop them before and make them anew after",
        source: "https://www.postgresql.org/docs/release/",
    },
    Rule {
        id: "extensions",
        weight: Weight::Know,
        scope: Scope::Database,
        applies: up,
        asks: Asks::Names(
            "SELECT format('%s %s', extname, extversion) FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1",
        ),
        says: "extensions, whose libraries the new server must have",
        next: "install them for the new version; ALTER EXTENSION ... UPDATE afterwards",
        source: CHECK,
    },
    Rule {
        id: "isn",
        weight: Weight::Know,
        scope: Scope::Database,
        applies: up,
        asks: Asks::Names(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.probin = '$libdir/isn' AND p.proname = 'isn_weak' ORDER BY 1",
        ),
        says: "contrib/isn: pg_upgrade refuses it where the new server is built to pass bigint in another way (32 and 64 bits)",
        next: "run pg_upgrade --check on the machine",
        source: CHECK,
    },
    Rule {
        id: "install-user",
        weight: Weight::Know,
        scope: Scope::Server,
        applies: up,
        asks: Asks::Names("SELECT quote_ident(rolname) FROM pg_roles WHERE oid = 10"),
        says: "pg_upgrade must run as the role that initdb made",
        next: "give the new cluster's initdb the same --username",
        source: CHECK,
    },
];

/// The rules for a server and a wanted version.
pub(super) fn rules(from: u32, to: u32) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| (rule.applies)(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(from: u32, to: u32, weight: Weight) -> Vec<&'static str> {
        rules(from, to).filter(|rule| rule.weight == weight).map(|rule| rule.id).collect()
    }

    /// What `check_and_dump_old_cluster` of `pg_upgrade` 18 asks by the old server's version, as far as SQL sees it.
    #[test]
    fn what_stumbles_is_what_pg_upgrade_18_looks_for() {
        let always = ["prepared-transactions", "closed-databases", "open-template0"];
        let types = ["reg-types", "system-composite-types"];
        let of = |more: &[&'static [&'static str]]| more.concat();
        let stumbles = |from, to| ids(from, to, Weight::Stumbles);
        let fourteen = ["encoding-conversions", "postfix-operators", "polymorphic-functions"];
        assert_eq!(
            stumbles(90_500, 18),
            [
                &always[..],
                &["pg-roles"],
                &types,
                &["aclitem", "removed-types", "unknown-type", "with-oids"],
                &fourteen,
                &["not-null-inheritance"]
            ]
            .concat()
        );
        assert_eq!(
            stumbles(110_022, 15),
            [&always[..], &types, &["removed-types", "with-oids"], &fourteen].concat()
        );
        assert_eq!(stumbles(130_023, 14), [&always[..], &types, &fourteen].concat());
        assert_eq!(stumbles(150_018, 16), [&always[..], &types, &["aclitem"]].concat());
        assert_eq!(stumbles(160_010, 17), [&always[..], &types].concat());
        assert_eq!(
            stumbles(170_006, 18),
            [&always[..], &["invalid-slots"], &types, &["not-null-inheritance"]].concat()
        );
        // The new server itself is asked what is to be rebuilt, and upgrades to nothing.
        assert_eq!(stumbles(180_001, 18), of(&[]));
    }

    /// <https://www.postgresql.org/docs/release/>: the "Migration to Version" of each minor release.
    #[test]
    fn minor_releases_ask_for_rebuilding_up_to_the_one_that_mends() {
        let rebuild = |from| ids(from, 18, Weight::Rebuild);
        assert!(rebuild(140_003).contains(&"concurrent-builds-of-14"));
        assert!(!rebuild(140_004).contains(&"concurrent-builds-of-14"));
        assert!(ids(140_004, 18, Weight::Know).contains(&"concurrent-builds-of-14-before"));
        assert!(rebuild(150_003).contains(&"brin-nulls") && !rebuild(150_004).contains(&"brin-nulls"));
        assert!(rebuild(160_001).contains(&"gin-concurrent-updates"));
        assert!(!rebuild(160_002).contains(&"gin-concurrent-updates"));
        assert!(rebuild(140_002).contains(&"ltree-gist") && !rebuild(140_003).contains(&"ltree-gist"));
        assert!(rebuild(90_624).contains(&"hash-indexes") && !rebuild(100_000).contains(&"hash-indexes"));
        assert!(rebuild(170_006).contains(&"text-search-and-trigrams"));
        assert!(!rebuild(180_000).contains(&"text-search-and-trigrams"));
    }

    #[test]
    fn every_rule_has_a_name_of_its_own_and_a_source() {
        let mut names: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
        assert!(RULES.iter().all(|rule| rule.source.starts_with("https://www.postgresql.org/docs/")));
    }
}
