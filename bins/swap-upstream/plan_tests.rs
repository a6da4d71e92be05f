//! What is decided for the proxies, by what was seen of them.

use kit::{ActionRecord, ActionState, Code, Plan as _};
use serde_json::json;

use crate::edit::Swap;
use crate::lock::{Found, Lock};
use crate::observe::{Nginx, Seen, Workers, sum};
use crate::place::Proxy;
use crate::plan::{Inverse, Switch, Wish, Work, plan};
use crate::undo;

const OLD: &str = "events {} http { upstream a { server v31; } }";
const NEW: &str = "events {} http { upstream a { server v37; } }";

fn seen(name: &str, text: &str) -> Seen {
    let proxy: Proxy = format!("{name}=ssh://{name}/etc/nginx/nginx.conf").parse().unwrap();
    Seen {
        real: proxy.path.clone(),
        proxy,
        content: text.into(),
        sum: sum(text.as_bytes()),
        links: 1,
        age: 1000,
        replaceable: Ok(()),
        lock: None,
        kept: None,
        whole: true,
        nginx: Nginx {
            absent: false,
            complaint: None,
            files: vec!["/etc/nginx/nginx.conf".into()],
            loaded: true,
            upstreams: Vec::new(),
            pid_file: "/run/nginx.pid".into(),
            default: "/etc/nginx/nginx.conf".into(),
            workers: Ok(Workers {
                master: 1,
                active: vec![(2, 900), (3, 900)],
                leaving: 0,
                started_with: None,
            }),
        },
    }
}

/// The same with the lock of a run that did not end.
fn locked(name: &str, text: &str, release: &str, left: i64, kept: &str, after: &str) -> Seen {
    let lock = Lock {
        release: release.into(),
        run: "r".into(),
        before: sum(kept.as_bytes()),
        after: sum(after.as_bytes()),
        expires: 0,
        done: false,
    };
    let found = Found { lock: Some(lock), sum: "s".into(), left };
    Seen { lock: Some(found), kept: Some(kept.into()), ..seen(name, text) }
}

fn wish() -> Wish {
    Wish { swaps: vec!["a=v31..v37".parse::<Swap>().unwrap()], release: "v37".into() }
}

fn works(seen: &[Seen]) -> Vec<Work> {
    plan(&wish(), seen).unwrap().targets.iter().map(|target| target.work).collect()
}

fn ids(switch: &Switch) -> Vec<String> {
    switch.actions().into_iter().map(|action| action.id).collect()
}

/// The reasons of a refusal.
fn why(seen: &[Seen]) -> String {
    let refused = plan(&wish(), seen).unwrap_err();
    assert_eq!(refused.code(), Code::Refused);
    refused.chain().join("\n")
}

#[test]
fn all_are_edited_before_any_is_reloaded() {
    let switch = plan(&wish(), &[seen("x", OLD), seen("y", OLD)]).unwrap();
    assert_eq!(ids(&switch), ["lock", "edit-x", "edit-y", "reload-x", "reload-y"]);
    assert_eq!(switch.targets[0].after, NEW.as_bytes());
    let detail = switch.actions()[1].detail.clone().unwrap();
    assert!(detail.contains(&format!("-{OLD}\n")) && detail.contains(&format!("+{NEW}")), "{detail}");
}

#[test]
fn what_is_done_is_not_done_again() {
    let switch = plan(&wish(), &[seen("x", NEW), seen("y", OLD)]).unwrap();
    assert_eq!(ids(&switch), ["lock", "edit-y", "reload-y"]);
    assert_eq!(ids(&plan(&wish(), &[seen("x", NEW), seen("y", NEW)]).unwrap()), [""; 0]);
}

#[test]
fn a_file_that_is_younger_than_a_worker_is_loaded() {
    let aged = |file: i64, worker: i64| {
        let mut one = seen("x", NEW);
        one.age = file;
        one.nginx.workers =
            Ok(Workers { master: 1, active: vec![(2, 5), (3, worker)], leaving: 0, started_with: None });
        works(&[one])
    };
    assert_eq!(aged(100, 103), [Work::Reload]);
    // The ages are whole seconds: a worker that is started right after the edit may seem a little older.
    assert_eq!(aged(100, 102), [Work::Nothing]);
    assert_eq!(aged(100, 99), [Work::Nothing]);
}

/// One lock that says so is enough: it is written into all of them before the first goes.
#[test]
fn what_a_run_that_ended_well_has_edited_is_not_put_back() {
    let ended = |name: &str, text: &str, before: &str| {
        let mut seen = locked(name, text, "v37", 60, before, text);
        seen.lock.as_mut().unwrap().lock.as_mut().unwrap().done = true;
        seen
    };
    let works = |seen: &[Seen]| -> Vec<Work> {
        plan(&wish(), seen).unwrap().targets.iter().map(|target| target.work).collect()
    };
    assert_eq!(works(&[seen("x", NEW), ended("y", NEW, OLD)]), [Work::Nothing, Work::Reload]);
    let untold = || locked("x", NEW, "v37", 60, OLD, NEW);
    assert_eq!(works(&[untold(), ended("y", NEW, OLD)]), [Work::Reload, Work::Reload]);
    // Of another run nothing is told.
    let mut other = untold();
    other.lock.as_mut().unwrap().lock.as_mut().unwrap().run = "other".into();
    assert_eq!(works(&[other, ended("y", NEW, OLD)]), [Work::GoOn, Work::Reload]);
    let left = left(vec![record("x", "v31", "v37"), record("y", "v31", "v37")]);
    let undone = undo::plan("v37", &left, &[ended("x", OLD, NEW), seen("y", OLD)]).unwrap();
    assert_eq!(
        undone.targets.iter().map(|target| target.work).collect::<Vec<_>>(),
        [Work::Reload, Work::Nothing]
    );
}

#[test]
fn an_edit_of_a_run_that_did_not_end_is_gone_on_with() {
    let switch = plan(&wish(), &[locked("x", NEW, "v37", 60, OLD, NEW), seen("y", OLD)]).unwrap();
    assert_eq!(switch.targets[0].work, Work::GoOn);
    // It can be put back with the other one.
    assert_eq!(
        (switch.targets[0].before.as_slice(), switch.targets[0].after.as_slice()),
        (OLD.as_bytes(), NEW.as_bytes())
    );
    assert_eq!(ids(&switch), ["lock", "edit-x", "edit-y", "reload-x", "reload-y"]);
    // It had locked, and not edited.
    assert_eq!(works(&[locked("x", OLD, "v37", 60, "earlier", NEW)]), [Work::Edit]);
    // The copy is of an earlier edit: nginx is reloaded, and nothing can be put back.
    assert_eq!(works(&[locked("x", NEW, "v37", 60, "earlier", NEW)]), [Work::Reload]);
    // The lock is of another edit, the way back perhaps.
    assert_eq!(works(&[locked("x", OLD, "v37", 60, NEW, OLD)]), [Work::Edit]);
}

#[test]
fn another_release_waits_until_the_lock_is_over() {
    let held = |release: &str, left: i64| locked("x", OLD, release, left, OLD, NEW);
    assert!(
        why(&[held("v38", 60)]).contains("the release \"v38\" is editing it"),
        "{}",
        why(&[held("v38", 60)])
    );
    assert_eq!(works(&[held("v38", 0)]), [Work::Edit]);
    let mut odd = seen("x", OLD);
    odd.lock = Some(Found::of("?", "s".into(), 0));
    assert!(why(&[odd]).contains("/etc/nginx/.nginx.conf.cutover-lock was not written by this step"));
    // What is wanted already is wanted by somebody else too, perhaps: not while he is at work.
    assert!(why(&[locked("x", NEW, "v38", 60, OLD, NEW)]).contains("v38"));
}

#[test]
fn whatever_is_wrong_on_any_is_told_of_all() {
    let with = |change: fn(&mut Seen)| {
        let mut one = seen("y", OLD);
        change(&mut one);
        why(&[seen("x", OLD), one])
    };
    assert!(
        with(|one| one.nginx.complaint = Some("[emerg] no".into()))
            .contains("y: `nginx -t` fails there before any change: [emerg] no")
    );
    assert!(with(|one| one.nginx.loaded = false).contains("y: nginx does not load /etc/nginx/nginx.conf"));
    assert!(with(|one| one.nginx.workers = Err("gone".into())).contains("y: nginx does not run there: gone"));
    assert!(with(|one| one.nginx.workers = Ok(Workers::default())).contains("no workers that are seen"));
    assert!(
        with(|one| one.nginx.workers =
            Ok(Workers { started_with: Some("/b.conf".into()), ..Workers::default() }))
        .contains("was started with /b.conf, and not with /etc/nginx/nginx.conf")
    );
    assert!(with(|one| one.links = 2).contains("y: /etc/nginx/nginx.conf has 2 names"));
    assert!(with(|one| one.replaceable = Err("not ours".into())).contains("y: not ours"));
    let all = why(&[seen("x", "upstream b {}"), seen("y", "upstream a { server v30; }")]);
    assert!(all.contains("x: in /etc/nginx/nginx.conf: it has no upstream a; its upstreams: b"), "{all}");
    assert!(
        all.contains("y: in /etc/nginx/nginx.conf: the upstream a has neither v31 nor v37; its servers: v30"),
        "{all}"
    );
    // What need not be edited need not be writable.
    let mut done = seen("x", NEW);
    done.replaceable = Err("not ours".into());
    assert_eq!(works(&[done]), [Work::Nothing]);
}

#[test]
fn differences_are_told_by_their_directives_and_not_by_what_they_say() {
    let text = |key: &str| format!("{OLD}\nproxy_set_header Authorization \"{key}\";\n\"{key}\" x;\n");
    let switch = plan(&wish(), &[seen("x", &text("hunter2")), seen("y", &text("hunter3"))]).unwrap();
    let notes = format!("{:?}", switch.notes());
    assert!(notes.contains("line 2 of x (proxy_set_header)") && notes.contains("line 3 of y"), "{notes}");
    assert!(!notes.contains("hunter"), "{notes}");
}

fn record(name: &str, from: &str, to: &str) -> ActionRecord {
    let target = plan(
        &Wish { swaps: vec![format!("a={from}..{to}").parse().unwrap()], release: String::new() },
        &[seen(name, &OLD.replace("v31", from))],
    );
    let inverses: Vec<Inverse> = target.unwrap().inverses();
    let record = json!({
        "id": format!("edit-{name}"), "run": "1", "does": "", "undo": "", "reversible": true, "state": "done",
        "inverse": inverses, "result": null,
    });
    serde_json::from_value(record).unwrap()
}

fn left(actions: Vec<ActionRecord>) -> Vec<undo::Left> {
    let receipt = json!({
        "schema": "cutover-receipt/1", "step": "swap-upstream", "version": "0", "run": "1", "arguments": {}, "account": null,
        "region": null, "github": null, "started": "2026-11-22T00:00:00Z", "ended": null, "observed": null, "plan": null,
        "actions": actions, "outputs": {}, "verdict": null, "undo_of": null,
    });
    undo::of(&serde_json::from_value(receipt).unwrap()).unwrap()
}

#[test]
fn a_run_is_taken_back_where_its_bytes_still_are() {
    let left = left(vec![record("x", "v31", "v37"), record("y", "v31", "v37")]);
    let back = |x: &str, y: &str| undo::plan("v37", &left, &[seen("x", x), seen("y", y)]);
    let switch = back(NEW, NEW).unwrap();
    assert_eq!(ids(&switch), ["lock", "edit-x", "edit-y", "reload-x", "reload-y"]);
    assert!(switch.targets.iter().all(|target| target.after == OLD.as_bytes()));
    // An undo that was cut off is gone on with.
    assert_eq!(ids(&back(OLD, NEW).unwrap()), ["lock", "edit-y", "reload-y"]);
    assert_eq!(ids(&back(OLD, OLD).unwrap()), [""; 0]);
    let halfway = [locked("x", OLD, "v37", 60, NEW, OLD), seen("y", NEW)];
    assert_eq!(undo::plan("v37", &left, &halfway).unwrap().targets[0].work, Work::GoOn);
    for other in [format!("{NEW}\n"), NEW.replace("v37", "v38")] {
        let refused = back(NEW, &other).unwrap_err();
        assert_eq!(refused.code(), Code::Refused);
        assert!(
            refused.chain()[0].contains("y: /etc/nginx/nginx.conf is not as that run left it"),
            "{refused:?}"
        );
    }
}

/// Killed between the locks and the first edit: the receipt has the locks alone, and both proxies in them.
#[test]
fn locks_that_a_killed_run_left_go_when_it_is_taken_back() {
    let switch = plan(&wish(), &[seen("x", OLD), seen("y", OLD)]).unwrap();
    let mut lock = record("x", "v31", "v37");
    (lock.id, lock.inverse) = ("lock".to_owned(), json!(switch.inverses()));
    let left = left(vec![lock]);
    assert_eq!(left.len(), 2);
    let found = [locked("x", OLD, "v37", 60, OLD, NEW), seen("y", OLD)];
    let back = undo::plan("v37", &left, &found).unwrap();
    let works: Vec<Work> = back.targets.iter().map(|target| target.work).collect();
    // A proxy that somebody had in hand is reloaded, under a lock that ends with the run; the other was not come to.
    assert_eq!(works, [Work::Reload, Work::Nothing]);
}

/// A receipt that several runs continued holds several edits of one file.
#[test]
fn several_edits_of_one_file_are_taken_back_in_one() {
    let first = record("x", "v31", "v37");
    let mut undone = record("x", "v40", "v41");
    undone.state = ActionState::Undone;
    let left = left(vec![first, undone, record("x", "v37", "v39")]);
    let at = |text: &str| undo::plan("v37", &left, &[seen("x", text)]);
    assert_eq!(at(&OLD.replace("v31", "v39")).unwrap().targets[0].after, OLD.as_bytes());
    // The later of the two is taken back already.
    assert_eq!(at(NEW).unwrap().targets[0].after, OLD.as_bytes());
    assert_eq!(at(OLD).unwrap().targets[0].work, Work::Nothing);
    assert!(at(&OLD.replace("v31", "v38")).is_err());
}
