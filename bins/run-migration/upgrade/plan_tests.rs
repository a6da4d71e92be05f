use super::*;
use crate::upgrade::observe::{Listed, Ranges};

fn server(version: u32) -> Server {
    Server {
        version,
        version_text: format!("{}.{}", version / 10_000, version % 10_000),
        system: Some("7301".into()),
        started: "2026-11-21 20:00:00+00".into(),
        in_recovery: false,
        role: "deploy".into(),
        databases: vec![Listed { name: "copr".into(), open: true, permitted: true }],
    }
}

fn collation(oid: u32, name: &str, recorded: Option<&str>, actual: Option<&str>) -> Collation {
    Collation {
        oid,
        name: name.into(),
        provider: 'c',
        locale: "en_US.UTF-8".into(),
        recorded: recorded.map(str::to_owned),
        actual: actual.map(str::to_owned),
        owned: true,
    }
}

fn index(name: &str, collations: &[u32]) -> Index {
    Index {
        oid: 1,
        name: format!("public.{name}"),
        table: "public.t".into(),
        method: "btree".into(),
        valid: true,
        live: true,
        file: 500,
        bytes: 8 << 20,
        table_bytes: 64 << 20,
        permitted: true,
        collations: collations.iter().copied().collect(),
        ..Index::default()
    }
}

/// A database whose C library has become another one, with an index of text, one of numbers and one of a fixed order.
fn copr(indexes: Vec<Index>) -> Seen {
    Seen {
        oid: 16_384,
        name: "copr".into(),
        collations: [
            (DEFAULT, collation(DEFAULT, "default", Some("2.28"), Some("2.34"))),
            (950, Collation { locale: "C".into(), ..collation(950, "pg_catalog.\"C\"", None, None) }),
        ]
        .into(),
        indexes,
        ..Seen::default()
    }
}

const CHANGED: Request = Request { what: What::Changed, exclusive: Exclusive::Small, amcheck: false };

fn planned(request: Request, server: &Server, seen: Seen, done: &[Done]) -> Reindex {
    plan(request, server, &[seen], done, Vec::new()).unwrap()
}

fn names(plan: &Reindex) -> Vec<&str> {
    plan.databases.iter().flat_map(|part| &part.items).map(|item| item.name.as_str()).collect()
}

fn done(name: &str, file: u32, orders: &str) -> Done {
    Done {
        system: "7301".into(),
        database: 16_384,
        index: format!("public.{name}"),
        file,
        server_version: 150_018,
        orders: orders.into(),
    }
}

#[test]
fn what_another_library_orders_is_rebuilt_and_then_recorded() {
    let seen = copr(vec![index("name", &[DEFAULT]), index("id", &[]), index("code", &[950])]);
    let plan = planned(CHANGED, &server(150_018), seen, &[]);
    assert_eq!(names(&plan), ["public.name"]);
    assert_eq!(plan.databases[0].refreshes[0].sql, "ALTER DATABASE \"copr\" REFRESH COLLATION VERSION");
    let shown: Vec<String> = plan.actions().into_iter().map(|action| action.does).collect();
    assert!(shown[0].contains("rebuild 1 indexes in copr (8.0 MiB), CONCURRENTLY"), "{shown:?}");
}

#[test]
fn the_choice_decides_what_else_is_rebuilt() {
    let seen = || {
        let mut seen = copr(vec![
            index("id", &[]),
            index("name", &[DEFAULT]),
            Index { valid: false, ..index("broken", &[]) },
            Index { valid: false, leftover: true, ..index("name_ccnew", &[DEFAULT]) },
            Index { system: true, exclusion: false, table_bytes: 8192, ..index("catalogue", &[]) },
        ]);
        seen.collations.insert(DEFAULT, collation(DEFAULT, "default", None, Some("2.34")));
        seen
    };
    let of = |what| {
        names(&planned(Request { what, ..CHANGED }, &server(140_010), seen(), &[]))
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(What::Changed), ["public.broken"]);
    assert_eq!(of(What::Text), ["public.name", "public.broken"]);
    assert_eq!(of(What::All), ["public.id", "public.name", "public.broken", "public.catalogue"]);
    let plan = planned(CHANGED, &server(140_010), seen(), &[]);
    assert_eq!(plan.databases[0].leftovers, ["public.name_ccnew"]);
    assert!(plan.databases[0].refreshes.is_empty());
}

#[test]
fn what_a_run_has_rebuilt_is_not_rebuilt_again_unless_it_lies_elsewhere_or_the_order_is_another() {
    let text = Request { what: What::Text, ..CHANGED };
    let with = |lines: &[Done]| {
        let plan = planned(text, &server(150_018), copr(vec![index("name", &[DEFAULT])]), lines);
        // What is recorded waits for nothing else.
        assert_eq!(plan.databases[0].refreshes.len(), 1);
        plan.count()
    };
    let line = done("name", 500, "default=2.34");
    assert_eq!(with(std::slice::from_ref(&line)), 0);
    assert_eq!(with(&[done("name", 501, "default=2.34")]), 1);
    assert_eq!(with(&[done("name", 500, "default=2.28")]), 1);
    assert_eq!(with(&[done("other", 500, "default=2.34")]), 1);
    // What pg_upgrade has carried over to another server was not rebuilt there.
    assert_eq!(with(&[Done { system: "7302".into(), ..line.clone() }]), 1);
    // All are rebuilt once for each version of the server.
    let all = Request { what: What::All, ..CHANGED };
    let newer =
        planned(all, &server(160_002), copr(vec![index("name", &[DEFAULT])]), std::slice::from_ref(&line));
    assert_eq!(newer.count(), 1);
    let same = planned(all, &server(150_018), copr(vec![index("name", &[DEFAULT])]), &[line]);
    assert_eq!(same.count(), 0);
}

#[test]
fn where_a_library_tells_no_version_another_start_of_the_server_may_be_another_library() {
    let text = Request { what: What::Text, ..CHANGED };
    let seen = || {
        let mut seen = copr(vec![index("name", &[DEFAULT])]);
        seen.collations.insert(DEFAULT, collation(DEFAULT, "default", None, None));
        seen
    };
    let now = server(120_018);
    let line =
        Done { server_version: 120_018, ..done("name", 500, &orders(&seen().indexes[0], &seen(), &now)) };
    assert_eq!(planned(text, &now, seen(), std::slice::from_ref(&line)).count(), 0);
    let later = Server { started: "2026-11-22 03:00:00+00".into(), ..now };
    assert_eq!(planned(text, &later, seen(), &[line]).count(), 1);
}

#[test]
fn everything_that_forbids_it_is_said_at_once() {
    let mut seen = copr(vec![
        Index { permitted: false, ..index("name", &[DEFAULT]) },
        Index { exclusion: true, ..index("during", &[DEFAULT]) },
    ]);
    if let Some(default) = seen.collations.get_mut(&DEFAULT) {
        default.owned = false;
    }
    let request = Request { amcheck: true, ..CHANGED };
    let refusal = plan(request, &server(150_018), &[seen], &[], Vec::new()).unwrap_err();
    assert_eq!(refusal.code(), kit::Code::Refused);
    let why = refusal.chain().join(" ");
    for part in [
        "deploy may not rebuild copr: public.name",
        "copr: public.during is of an exclusion constraint",
        "writers to public.t (64.0 MiB) would wait",
        "can't make the extension amcheck",
        "does not own the database",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let old = plan(CHANGED, &server(110_022), &[copr(vec![index("name", &[DEFAULT])])], &[], Vec::new());
    assert!(old.unwrap_err().chain().join(" ").contains("servers before 12"));
    let standby = Server { in_recovery: true, ..server(150_018) };
    let refusal = plan(CHANGED, &standby, &[], &[], Vec::new()).unwrap_err();
    assert!(refusal.chain().join(" ").contains("standby"));
}

#[test]
fn writers_wait_only_where_it_was_allowed() {
    let seen = || {
        copr(vec![
            index("name", &[DEFAULT]),
            Index { exclusion: true, table_bytes: 1 << 20, ..index("during", &[DEFAULT]) },
        ])
    };
    let exclusive = |request| -> Vec<bool> {
        let plan = planned(request, &server(150_018), seen(), &[]);
        plan.databases[0].items.iter().map(|item| item.exclusive).collect()
    };
    assert_eq!(exclusive(CHANGED), [false, true]);
    assert_eq!(exclusive(Request { exclusive: Exclusive::All, ..CHANGED }), [true, true]);
    let large = copr(vec![Index { exclusion: true, ..index("during", &[DEFAULT]) }]);
    let needed = planned(Request { exclusive: Exclusive::Needed, ..CHANGED }, &server(150_018), large, &[]);
    assert!(needed.databases[0].items[0].exclusive);
}

#[test]
fn ranges_of_text_keep_their_warning() {
    let mut seen = copr(vec![index("name", &[DEFAULT])]);
    seen.ranges.push(Ranges { table: "public.people".into(), collations: [DEFAULT].into() });
    let plan = planned(CHANGED, &server(150_018), seen, &[]);
    assert_eq!(plan.count(), 1);
    assert!(plan.databases[0].refreshes.is_empty());
    let notes: Vec<String> = plan.notes().iter().map(|note| format!("{note:?}")).collect();
    assert!(notes.iter().any(|note| note.contains("public.people") && note.contains("REFRESH")), "{notes:?}");
}

#[test]
fn tables_of_all_databases_are_rebuilt_once() {
    let shared =
        || Index { system: true, shared: true, table_bytes: 8192, ..index("pg_database_oid_index", &[]) };
    let other = Seen { oid: 5, name: "postgres".into(), ..copr(vec![shared()]) };
    let all = Request { what: What::All, ..CHANGED };
    let plan = plan(all, &server(150_018), &[copr(vec![shared()]), other], &[], Vec::new()).unwrap();
    assert_eq!(plan.count(), 1);
}
