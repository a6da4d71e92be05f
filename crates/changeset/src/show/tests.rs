use std::collections::BTreeSet;

use super::*;
use crate::fate::{Fate, Old};
use crate::review::{
    Cause, Counts, Operation, Property, Review, Row, SCHEMA, StackReview, State, Tier, Verdict, Wishes,
};
use crate::testing::row;

fn property(path: &str, recreation: &str, causes: Vec<Cause>) -> Property {
    Property {
        path: format!("/Properties/{path}"),
        recreation: Some(recreation.to_owned()),
        before: Some("[\"HASH\"]".to_owned()),
        after: Some("[\"HASH\",\"RANGE\"]".to_owned()),
        causes,
    }
}

fn safe(name: &str, fate: Fate) -> Row {
    Row { fate, resource_type: "AWS::EC2::SecurityGroup".to_owned(), tier: None, ..row(name, &[]) }
}

fn stack(label: &str, rows: Vec<Row>) -> StackReview {
    let arn = |what: &str| format!("arn:aws:cloudformation:us-east-1:111111111111:{what}/{label}/6f1b");
    StackReview {
        label: label.to_owned(),
        stack: format!("boss-{label}"),
        stack_id: Some(arn("stack")),
        change_set: Some(arn("changeSet")),
        operation: Operation::Update,
        state: State::Reviewed,
        rows,
        warnings: Vec::new(),
    }
}

fn review(stacks: Vec<StackReview>) -> Review {
    let rows = || stacks.iter().flat_map(|stack| &stack.rows);
    let number = |wanted: fn(&Row) -> bool| rows().filter(|row| wanted(row)).count();
    let counts = Counts {
        add: number(|row| row.fate == Fate::Add),
        modify: number(|row| row.fate == Fate::Modify),
        replace: number(|row| matches!(row.fate, Fate::Replace(_) | Fate::MayReplace(_))),
        remove: number(|row| matches!(row.fate, Fate::Remove(_))),
        other: 0,
        blocked: number(Row::blocks),
        approved: number(|row| !row.needs.is_empty() && !row.blocks()),
    };
    let verdict = rows().map(|row| row.verdict).max().unwrap_or(Verdict::Safe);
    Review {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        account: Some("111111111111".to_owned()),
        region: Some("us-east-1".to_owned()),
        rules: Wishes::default(),
        stacks,
        fingerprint: "sha256:0123".to_owned(),
        counts,
        verdict,
    }
}

/// A table that would be lost since a parameter changes, what follows from it, an approved one, a notice, and safe ones.
fn boss() -> Review {
    let table = Row {
        risks: BTreeSet::new(),
        reasons: vec!["it holds the items of the table".to_owned(), "the new one begins empty".to_owned()],
        properties: vec![
            property("KeySchema", "Always", vec![Cause::Parameter("KeySize".to_owned())]),
            property("Tags", "Never", vec![Cause::Template]),
        ],
        ..row("api/TileTable", &["replace-delete"])
    };
    let index = Row {
        verdict: Verdict::PossibleLoss,
        properties: vec![property(
            "TableName",
            "Conditionally",
            vec![Cause::Attribute("TileTable.Arn".to_owned())],
        )],
        ..row("api/TileIndex", &["may-replace-delete"])
    };
    let mut queue = row("api/Queue", &["remove-retain"]);
    queue.verdict = Verdict::Detach;
    queue.approved = queue.needs.clone();
    let web = Row {
        verdict: Verdict::Notice,
        fate: Fate::Replace(Old::Deleted),
        resource_type: "AWS::EC2::Instance".to_owned(),
        tier: Some(Tier::Identity),
        properties: vec![property("ImageId", "Always", vec![Cause::Parameter("Ami".to_owned())])],
        ..row("core/Web", &[])
    };
    let mut core = stack(
        "core",
        vec![web, safe("core/A", Fate::Add), safe("core/B", Fate::Add), safe("core/C", Fate::Modify)],
    );
    core.warnings = vec!["AWS left values out".to_owned()];
    let mut later = stack("later", Vec::new());
    (later.change_set, later.state) =
        (None, State::Provisional("core must run first: it exports Vpc".to_owned()));
    review(vec![core, stack("api", vec![table, index, queue, safe("api/Role", Fate::Modify)]), later])
}

#[test]
fn a_person_reads_the_worst_first() {
    let lines = terminal(&boss(), Style { colour: false, width: 100 });
    let text = lines.join("\n");
    assert_eq!(lines[0], "LOSS: 2 of 8 changes wait for approval; 1 stack can't be judged yet");
    let expected = "\
Waits for approval
  -/+ api/TileTable  AWS::DynamoDB::Table  REPLACE, the old one is DELETED  [data]  LOSS
      KeySchema (parameter KeySize)
      - it holds the items of the table
      - the new one begins empty
      - KeySchema forces replacement:  [\"HASH\"]  -> [\"HASH\",\"RANGE\"]
      approve with: --allow api/TileTable:replace-delete
  -/+ api/TileIndex  AWS::DynamoDB::Table  MAY BE REPLACED, the old one then DELETED  [data]
      POSSIBLE LOSS  TableName (attribute TileTable.Arn)
      - TableName may force replacement:  [\"HASH\"]  -> [\"HASH\",\"RANGE\"]
      - TileIndex may be replaced because TileTable (its Arn) is replaced, because parameter KeySize
        changes
      approve with: --allow api/TileIndex:may-replace-delete

1. core (boss-core): update
  warning: AWS left values out
  -/+ core/Web  AWS::EC2::Instance  REPLACE, the old one is DELETED  [identity]  notice
      ImageId (parameter Ami)
  3 more are safe: 2 added, 1 changed

2. api (boss-api): update
  2 changes wait for approval, see above
  - api/Queue  AWS::DynamoDB::Table  REMOVE from the stack, it stays outside  [data]  DETACH
      - approved by name: remove-retain
  1 more is safe: 1 changed

3. later (boss-later): update, PROVISIONAL: it can't be judged yet
  core must run first: it exports Vpc

Plan: 2 to add, 2 to change, 3 to replace, 1 to remove; 2 wait for approval, 1 approved.
Fingerprint: sha256:0123
Change set of core: https://us-east-1.console.aws.amazon.com/cloudformation/home?region=us-east-1#/stacks/changesets/changes?stackId=arn%3Aaws%3Acloudformation%3Aus-east-1%3A111111111111%3Astack%2Fcore%2F6f1b&changeSetId=arn%3Aaws%3Acloudformation%3Aus-east-1%3A111111111111%3AchangeSet%2Fcore%2F6f1b
";
    assert!(text.contains(expected.trim_end()), "{text}");
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    assert!(!terminal(&boss(), Style::default()).concat().contains('\u{1b}'));
    let lines = terminal(&boss(), Style { colour: true, width: 80 });
    assert!(lines[0].starts_with("\u{1b}[1;31mLOSS") && lines[0].ends_with("\u{1b}[0m"), "{}", lines[0]);
}

#[test]
fn lines_are_short_and_long_names_are_whole() {
    let long = "A".repeat(255);
    let mut table = row(&format!("api/{long}"), &["replace-delete"]);
    table.reasons = vec!["word ".repeat(60)];
    let mut boss = boss();
    boss.stacks.push(stack("long", vec![table]));
    for line in terminal(&boss, Style::default()) {
        let fits = line.chars().count() <= 80;
        let whole = line.contains(&long) || line.contains("https://") || line.contains("--allow");
        assert!(fits || whole, "{line}");
    }
}

#[test]
fn nothing_to_say_is_said_shortly() {
    let mut none = stack("core", Vec::new());
    (none.state, none.change_set) = (State::NoChanges, None);
    let none = review(vec![none]);
    let text = terminal(&none, Style::default()).join("\n");
    assert!(
        text.starts_with("no changes\n") && text.contains("1. core (boss-core): update, no changes"),
        "{text}"
    );
    assert_eq!(graph(&none), None);
    let safe_one = review(vec![stack("core", vec![safe("core/A", Fate::Add)])]);
    assert_eq!(headline(&safe_one), "safe: 1 change");
    assert_eq!(graph(&safe_one), None);
}

#[test]
fn a_circle_of_causes_ends() {
    let cause = |name: &str| vec![property("X", "Always", vec![Cause::Resource(name.to_owned())])];
    let a = Row { properties: cause("B"), ..row("api/A", &["replace-delete"]) };
    let b = Row { properties: cause("A"), ..row("api/B", &["replace-delete"]) };
    let text = terminal(&review(vec![stack("api", vec![a, b])]), Style::default()).join("\n");
    assert!(text.contains("A is replaced because B is replaced"), "{text}");
}

#[test]
fn a_value_that_is_not_known_yet_is_said_to_be() {
    let mut replaced = property("SubnetId", "Always", vec![Cause::Template]);
    replaced.after = Some("{{changeSet:KNOWN_AFTER_APPLY}}".to_owned());
    let table = Row { properties: vec![replaced], ..row("api/T", &["replace-delete"]) };
    let review = review(vec![stack("api", vec![table])]);
    let text = terminal(&review, Style { width: 200, ..Style::default() }).join("\n");
    assert!(text.contains("-> (known after apply)\n      - it may not happen"), "{text}");
    assert!(summary(&review).contains("- it may not happen"), "{}", summary(&review));
}

#[test]
fn a_comment_has_no_values_and_a_summary_has() {
    let mut options =
        CommentOptions::new("prod", Some("https://github.com/acme/boss/actions/runs/1".to_owned()));
    let text = comment(&boss(), &options);
    assert!(
        text.starts_with("<!-- cutover:changeset-review:prod -->\n## Change set review: LOSS: 2 of 8"),
        "{text}"
    );
    assert!(text.contains(
        "| **LOSS** | `api/TileTable` | `AWS::DynamoDB::Table`, data | REPLACE, the old one is DELETED | `--allow api/TileTable:replace-delete` |"
    ));
    assert!(text.contains("| 2 | `api` | update |  | 1 | 2 | 1 |  | 2 |"), "{text}");
    assert!(text.contains("[the run](https://github.com/acme/boss/actions/runs/1)"));
    assert!(!text.contains("HASH") && !text.contains("Left out"), "{text}");
    options.values = true;
    assert!(comment(&boss(), &options).contains("`[\"HASH\"]` → `[\"HASH\",\"RANGE\"]`"));
    assert!(summary(&boss()).contains("`[\"HASH\"]` → `[\"HASH\",\"RANGE\"]`"));
}

/// A review with so many rows of each kind.
fn large(blockers: usize, notices: usize, safe_ones: usize) -> Review {
    let causes = || vec![property("KeySchema", "Always", vec![Cause::Parameter("KeySize".to_owned())])];
    let mut rows: Vec<Row> = (0..blockers)
        .map(|n| Row {
            properties: causes(),
            risks: BTreeSet::new(),
            reasons: vec!["it holds the items of the table".to_owned()],
            ..row(&format!("api/Table{n}"), &["replace-delete"])
        })
        .collect();
    rows.extend((0..notices).map(|n| Row {
        verdict: Verdict::Notice,
        properties: causes(),
        ..safe(&format!("api/Notice{n}"), Fate::Replace(Old::Deleted))
    }));
    rows.extend((0..safe_ones).map(|n| safe(&format!("api/Safe{n}"), Fate::Add)));
    review(vec![stack("api", rows)])
}

#[test]
fn a_comment_stays_under_the_limit_and_the_safe_go_first() {
    let options = CommentOptions::new("prod", Some("https://github.com/x".to_owned()));
    // (blockers, notices, safe), what is there, what is said to be left out
    let table: [(usize, usize, usize, &[&str], &[&str]); 6] = [
        (2, 3, 10, &["`api/Safe9`", "`api/Notice2`", "```mermaid", "it holds the items"], &[]),
        (
            2,
            3,
            1500,
            &["`api/Notice2`", "```mermaid", "it holds the items", "1500 more are safe: 1500 added"],
            &["1500 safe changes"],
        ),
        (2, 900, 200, &["```mermaid", "it holds the items"], &["200 safe changes", "900 notices"]),
        (180, 900, 200, &["it holds the items"], &["200 safe changes", "900 notices", "1 graph"]),
        (330, 900, 200, &["`api/Table329`"], &["1 graph", "330 explanations"]),
        (
            2000,
            0,
            0,
            &["> [!CAUTION]", "of the 2000 changes that wait for an approval are not shown", "`api/Table9`"],
            &["2000 explanations"],
        ),
    ];
    for (blockers, notices, safe_ones, there, left_out) in table {
        let review = large(blockers, notices, safe_ones);
        let text = comment(&review, &options);
        let case = format!("{blockers} {notices} {safe_ones}: {} bytes", text.len());
        assert!(text.len() <= COMMENT_LIMIT, "{case}");
        for part in there {
            assert!(text.contains(part), "{case}: {part}\n{text}");
        }
        let said = text.lines().find(|line| line.starts_with("**Left out**")).unwrap_or_default();
        assert_eq!(said.is_empty(), left_out.is_empty(), "{case}: {said}");
        for part in left_out {
            assert!(said.contains(part), "{case}: {said}");
        }
        assert_eq!(text, comment(&review, &options), "the same again");
        for n in 0..blockers.min(300) {
            assert!(text.contains(&format!("| `api/Table{n}` |")), "{case}: Table{n}");
        }
    }
    assert!(summary(&large(2000, 2000, 2000)).len() <= 1024 * 1024);
    let tiny = CommentOptions { limit: 420, ..options };
    let text = comment(&large(10, 0, 0), &tiny);
    assert!(text.len() <= 420 && text.contains("too long to be shown"), "{text}");
}

#[test]
fn the_graph_shows_what_causes_what() {
    let text = graph(&boss()).unwrap();
    for part in [
        "flowchart LR\n",
        "subgraph s1[\"stack api\"]",
        "[\"TileTable<br/>AWS#58;#58;DynamoDB#58;#58;Table<br/>REPLACE, the old one is DELETED<br/>LOSS, WAITS FOR APPROVAL\"]",
        "[/\"parameter KeySize\"/]",
        "-->|\"KeySchema\"|",
        "-->|\"TableName\"|",
        "classDef waits ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("Role"), "safe and without a cause:\n{text}");
    let nested = review(vec![stack("infra", vec![row("infra/S3Res/Bucket", &["remove-delete"])])]);
    let text = graph(&nested).unwrap();
    assert!(
        text.contains("subgraph s0[\"stack infra\"]\n    subgraph s1[\"stack S3Res\"]\n      n0["),
        "{text}"
    );
}

#[test]
fn the_graph_stays_under_mermaids_limits() {
    for (blockers, notices, safe_ones) in [(2, 3, 5000), (50, 400, 0), (5000, 5000, 0)] {
        let text = graph(&large(blockers, notices, safe_ones)).unwrap();
        assert!(text.encode_utf16().count() <= 50_000, "{}", text.len());
        assert!(text.matches("-->").count() <= 500);
        assert!(text.contains("Table1<br/>"), "the dangerous stay");
        assert_eq!(text.contains("more changes"), blockers + notices > 400, "{text}");
    }
}

/// What could be in a name, a reason, a type or a value.
const HOSTILE: [&str; 12] = [
    "a|b|c",
    "`code` ``` ~~~",
    "<img src=x onerror=alert(1)></details><!-- -->",
    "@acme/ops @octocat",
    "see #123, GH-4 and acme/boss#5",
    "x\n::error::owned\r\n## heading\n::set-output name=a::b",
    "\u{1b}[2J\u{1b}[31mred\u{7}",
    "\u{202e}gnp.exe\u{2066}\u{200b}",
    "::warning::x ##[error]y",
    "\"]; click n0 \"javascript:alert(1)\"; n0[\"#quot;",
    "end\nsubgraph x %%{init: {}}%% style:#f00;",
    "--> $(touch /tmp/x) '; rm -rf ~ #'",
];

/// A review in which this stands wherever something comes from outside.
fn hostile(bad: &str) -> Review {
    let mut table = row("api/T", &["replace-delete"]);
    table.logical_id = bad.to_owned();
    table.resource_type = bad.to_owned();
    table.reasons = vec![bad.to_owned(), format!("{bad} ").repeat(30)];
    table.properties = vec![Property {
        path: format!("/Properties/{bad}"),
        recreation: Some("Always".to_owned()),
        before: Some(bad.to_owned()),
        after: Some(format!("{bad} ").repeat(40)),
        causes: vec![
            Cause::Parameter(bad.to_owned()),
            Cause::Resource(bad.to_owned()),
            Cause::Other(bad.to_owned()),
        ],
    }];
    let mut notice = safe("api/N", Fate::Modify);
    notice.verdict = Verdict::Notice;
    notice.reasons = vec![bad.to_owned()];
    notice.logical_id = bad.to_owned();
    let mut api = stack("api", vec![table, notice, safe("api/S", Fate::Add)]);
    api.label = bad.to_owned();
    api.stack = bad.to_owned();
    api.warnings = vec![bad.to_owned()];
    api.state = State::Provisional(bad.to_owned());
    Review { fingerprint: bad.to_owned(), ..review(vec![api]) }
}

#[test]
fn what_comes_from_outside_gives_no_command() {
    for bad in HOSTILE {
        let review = hostile(bad);
        let invisible = |c: char| {
            (c.is_control() && c != '\n')
                || ('\u{200b}'..='\u{200f}').contains(&c)
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
        };
        for line in terminal(&review, Style::default()) {
            assert!(!line.contains(invisible) && !line.contains('\n'), "{line:?}");
            assert!(!line.trim_start().starts_with("::") && !line.contains("##["), "{line}");
        }
        let comment = comment(&review, &CommentOptions { values: true, ..CommentOptions::new(bad, None) });
        for text in [&comment, &summary(&review)] {
            assert!(!text.contains(invisible), "{text:?}");
            check_markdown(text, bad);
        }
        let drawn = graph(&review).unwrap();
        assert!(comment.contains(&drawn));
        check_mermaid(&drawn);
    }
}

/// Outside of code, nothing from outside is left that Markdown or GitHub interprets.
fn check_markdown(text: &str, bad: &str) {
    let mut mermaid = false;
    // The marker is a comment of HTML, which is in no text.
    let lines = text.lines().skip(usize::from(text.starts_with("<!-- cutover:changeset-review:")));
    for line in lines {
        if line.starts_with("```") {
            assert!(line == "```mermaid" || (mermaid && line == "```"), "{line}");
            mermaid = !mermaid;
            continue;
        }
        if mermaid {
            continue;
        }
        assert!(!line.trim_start().starts_with("::"), "{line}");
        if line.starts_with('|') {
            let cells = line.replace("\\|", "").matches('|').count();
            assert!([6, 10].contains(&cells), "{bad}: {line}");
        }
        let plain = without_code(line);
        for sign in ["<img", "<script", "@octocat", "@acme", "#123", "GH-4", "boss#5"] {
            assert!(!plain.contains(sign), "{sign}: {line}");
        }
        let tags: BTreeSet<&str> =
            plain.split('<').skip(1).filter_map(|rest| rest.split(['>', ' ']).next()).collect();
        let ours = ["details", "summary", "/summary", "/details", "code", "/code", "!--"];
        assert!(tags.iter().all(|tag| ours.contains(tag) || tag.starts_with("summary")), "{tags:?}: {line}");
        assert!(!plain.contains("<!--") && !plain.contains("-->"), "{line}");
    }
    assert!(!mermaid, "the fence is closed");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("<details>")).count(),
        text.lines().filter(|line| *line == "</details>").count()
    );
}

/// A line without its code spans: what is between runs of backticks of equal length.
fn without_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['`', '\\']) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        if let Some(escaped) = after.strip_prefix('\\') {
            out.extend(escaped.chars().next());
            rest = escaped.char_indices().nth(1).map_or("", |(at, _)| &escaped[at..]);
            continue;
        }
        let run = after.bytes().take_while(|byte| *byte == b'`').count();
        let (fence, after) = after.split_at(run);
        let mut end = None;
        let mut from = 0;
        while let Some(at) = after[from..].find('`') {
            let length = after[from + at..].bytes().take_while(|byte| *byte == b'`').count();
            if length == run {
                end = Some(from + at + run);
                break;
            }
            from += at + length;
        }
        if let Some(end) = end {
            rest = &after[end..];
        } else {
            out.push_str(fence);
            rest = after;
        }
    }
    out + rest
}

/// Each line is one that the graph itself writes, with nothing in its labels that Mermaid could read.
fn check_mermaid(text: &str) {
    let harmless = |label: &str| {
        label.replace("<br/>", "").chars().all(|c| c.is_alphanumeric() || " .,-_/#;\u{fffd}".contains(c))
    };
    let mut depth = 0;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line == "end" {
            depth -= 1;
        } else if line.starts_with("subgraph s") {
            depth += 1;
        } else {
            let ours = n == 0
                || line.starts_with('n')
                || line.starts_with("more[")
                || line.starts_with("class ")
                || line.starts_with("classDef ");
            assert!(ours, "{line}");
        }
        let quotes = line.matches('"').count();
        assert!(quotes == 0 || quotes == 2, "{line}");
        if let Some((_, rest)) = line.split_once('"') {
            let label = rest.split('"').next().unwrap();
            assert!(harmless(label), "{label}");
            assert!(!line.contains(';') || label.contains(';'), "{line}");
        }
    }
    assert_eq!(depth, 0, "{text}");
}
