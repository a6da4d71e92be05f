//! Against the emulator; [`scenes`] has what it lacks.

mod scenes;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws::Aws;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use kit::{Code, Cx};
use serde_json::{Value, json};
use testkit::emulator::{self, Emulator};
use testkit::front::{Effect, Fault, Front};

use super::*;
use crate::answer::{Action, PolicyAction, Replacement, ResourceChange};
use crate::set::{Set, assemble};

async fn shared() -> Arc<Emulator> {
    static SHARED: tokio::sync::Mutex<Weak<Emulator>> = tokio::sync::Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(emulator) = shared.upgrade() {
        return emulator;
    }
    let emulator = Arc::new(Emulator::start(emulator::Options::default()).await.unwrap());
    *shared = Arc::downgrade(&emulator);
    emulator
}

/// A front of a test's own before the emulator that all tests share; stacks are named after the test.
struct World {
    emulator: Arc<Emulator>,
    front: Front,
    cfn: Cfn,
    cx: Cx,
}

async fn cfn_at(front: &Front) -> Cfn {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .endpoint_url(front.url())
        .load()
        .await;
    let aws = Aws { config, account: "000000000000".into(), region: "us-east-1".into() };
    Cfn::new(&aws).every(Duration::from_millis(50))
}

impl World {
    async fn start() -> Self {
        let emulator = shared().await;
        let front = Front::builder().upstream(emulator.url()).start().await.unwrap();
        let cfn = cfn_at(&front).await;
        Self { emulator, front, cfn, cx: kit::testing::cx() }
    }

    /// Makes the set, and expects that it can be executed.
    async fn made(&self, want: &Want, name: &str) -> SetRef {
        let set = self.cfn.make_set(want, name).await.unwrap();
        let made = self.cfn.await_set(&self.cx, &set.arn).await.unwrap();
        assert_eq!(made, Made::Ready, "{name}");
        set
    }

    /// Makes the set, executes it and follows that to the end.
    async fn run(&self, want: &Want, name: &str) -> (SetRef, Ended) {
        let set = self.made(want, name).await;
        let mark = self.cfn.mark(&self.cx, &set.stack_id).await.unwrap();
        self.cfn.execute(&set, name).await.unwrap();
        let ended = self.cfn.follow(&self.cx, &set.stack_id, mark).await.unwrap();
        (set, ended)
    }

    async fn set(&self, arn: &str) -> Set {
        let described = self.cfn.describe(&self.cx, arn).await.unwrap();
        assert_eq!(described.warnings, Vec::<String>::new());
        assemble(described.pages).unwrap().remove(0)
    }

    async fn status(&self, stack: &str) -> Option<String> {
        self.cfn.observe_stack(&self.cx, stack).await.unwrap().map(|stack| stack.status)
    }

    /// How often an operation was called.
    fn count(&self, operation: &str) -> usize {
        self.front.calls().iter().filter(|call| call.operation == operation).count()
    }
}

fn want(stack: &str, kind: Kind, template: &Value) -> Want {
    Want {
        stack: stack.to_owned(),
        kind,
        template: TemplateSource::Body(template.to_string()),
        parameters: BTreeMap::new(),
        capabilities: Vec::new(),
        tags: BTreeMap::new(),
        role_arn: None,
        notification_arns: Vec::new(),
        rollback_triggers: Vec::new(),
        monitoring_minutes: None,
        description: "a test".to_owned(),
    }
}

/// A table whose name decides whether it is replaced, and a topic whose text does not.
fn tiles(name: &str, text: &str) -> Value {
    json!({
        "Parameters": {"Password": {"Type": "String", "NoEcho": true, "Default": "x"}, "Stage": {"Type": "String", "Default": "dev"}},
        "Resources": {
            "TileTable": {"Type": "AWS::DynamoDB::Table", "Properties": {
                "TableName": name,
                "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST"}},
            "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": text}},
        },
        "Outputs": {"TopicArn": {"Value": {"Ref": "Topic"}}},
    })
}

fn change<'a>(set: &'a Set, id: &str) -> &'a ResourceChange {
    set.changes.iter().find(|change| change.logical_resource_id == id).unwrap()
}

#[tokio::test]
async fn a_stack_is_made_updated_replaced_and_deleted() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    assert_eq!(cfn.observe_stack(cx, "life").await.unwrap(), None);

    let mut create = want("life", Kind::Create, &tiles("life", "one"));
    create.parameters.insert("Password".into(), ParameterValue::Given("hunter22".into()));
    create.parameters.insert("Stage".into(), ParameterValue::Given("prod".into()));
    create.tags.insert("team".into(), "boss".into());
    let (first, ended) = world.run(&create, "cutover-test-1").await;
    assert_eq!((ended.status.as_str(), ended.phase()), ("CREATE_COMPLETE", Phase::Settled));
    assert_eq!(ended.first_failure, None);
    let topic = ended.outputs["TopicArn"].value.clone();
    assert!(topic.starts_with("arn:aws:sns:"), "{topic}");
    let story = cx.report().story();
    let about_table: Vec<&String> = story.iter().filter(|line| line.contains("TileTable")).collect();
    assert!(
        about_table.iter().any(|line| line.contains("CREATE_COMPLETE TileTable (AWS::DynamoDB::Table)")),
        "{story:?}"
    );
    assert_eq!(about_table.len(), 2, "each event once: {story:?}");

    let stack = cfn.observe_stack(cx, "life").await.unwrap().unwrap();
    assert_eq!(stack.id, first.stack_id);
    assert_eq!(stack.parameters["Password"], "****");
    assert_eq!(stack.tags["team"], "boss");
    let by_id = cfn.observe_stack(cx, &stack.id).await.unwrap().unwrap();
    assert_eq!(by_id, stack);

    // The same again, with the parameters kept: nothing changes, and the secret needs not to be known.
    let mut same = want("life", Kind::Update, &tiles("life", "one"));
    same.parameters.insert("Password".into(), ParameterValue::Previous);
    same.parameters.insert("Stage".into(), ParameterValue::Previous);
    let set = cfn.make_set(&same, "cutover-test-2").await.unwrap();
    assert_eq!(cfn.await_set(cx, &set.arn).await.unwrap(), Made::NoChanges);
    cfn.delete_set(&set).await.unwrap();
    cfn.delete_set(&set).await.unwrap();

    // In place.
    let update = Want { template: TemplateSource::Body(tiles("life", "two").to_string()), ..same.clone() };
    let set = world.made(&update, "cutover-test-3").await;
    let whole = world.set(&set.arn).await;
    assert_eq!(whole.changes.len(), 1);
    assert_eq!(change(&whole, "Topic").action, Some(Action::Modify));
    assert_eq!(change(&whole, "Topic").replacement, Some(Replacement::False));
    let described = cfn.describe(cx, &set.arn).await.unwrap();
    let templates = cfn.templates_of(cx, &described.nodes).await.unwrap();
    assert_eq!(templates.len(), 1);
    assert!(templates[0].before.as_ref().unwrap().contains("\"one\""));
    assert!(templates[0].after.as_ref().unwrap().contains("\"two\""));
    let mark = cfn.mark(cx, &stack.id).await.unwrap();
    cfn.execute(&set, "token-3").await.unwrap();
    let ended = cfn.follow(cx, &stack.id, mark).await.unwrap();
    assert_eq!(ended.status, "UPDATE_COMPLETE");
    let operation = cfn.last_operation(cx, &stack.id).await.unwrap().unwrap();
    assert_eq!(operation.first.status, "UPDATE_IN_PROGRESS");
    assert_eq!(operation.first.token.as_deref(), Some("token-3"));
    assert_eq!(operation.last.status, "UPDATE_COMPLETE");
    let stack = cfn.observe_stack(cx, "life").await.unwrap().unwrap();
    assert_eq!((stack.tags["team"].as_str(), stack.parameters["Stage"].as_str()), ("boss", "prod"));

    // A new table in the place of the old one.
    let replace = Want { template: TemplateSource::Body(tiles("other", "two").to_string()), ..same };
    let set = world.made(&replace, "cutover-test-4").await;
    let whole = world.set(&set.arn).await;
    let table = change(&whole, "TileTable");
    assert_eq!(table.replacement, Some(Replacement::True));
    assert_eq!(table.policy_action, Some(PolicyAction::ReplaceAndDelete));
    let foreign = cfn.foreign_sets(cx, "life").await.unwrap();
    assert_eq!(foreign, Vec::new(), "our own set is none");
    let mark = cfn.mark(cx, &stack.id).await.unwrap();
    cfn.execute(&set, "token-4").await.unwrap();
    let ended = cfn.follow(cx, &stack.id, mark).await.unwrap();
    assert_eq!(ended.status, "UPDATE_COMPLETE");
    let mark = cfn.mark(cx, &stack.id).await.unwrap();
    cfn.delete_stack(&stack.id, "token-5").await.unwrap();
    let ended = cfn.follow(cx, &stack.id, mark).await.unwrap();
    assert_eq!((ended.status.as_str(), ended.phase()), ("DELETE_COMPLETE", Phase::Deleted));
    assert_eq!(cfn.observe_stack(cx, "life").await.unwrap(), None);
    assert_eq!(world.front.unmatched(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failed_update_is_followed_through_its_roll_back_to_its_reason() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    let (set, _) = world.run(&want("back", Kind::Create, &tiles("back", "one")), "cutover-test-1").await;
    let mut broken = tiles("back", "two");
    broken["Resources"]["New"] = json!({"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Fn::ImportValue": "nobody-exports-this"}}});
    let (_, ended) = world.run(&want("back", Kind::Update, &broken), "cutover-test-2").await;
    assert_eq!((ended.status.as_str(), ended.phase()), ("UPDATE_ROLLBACK_COMPLETE", Phase::RolledBack));
    let first = ended.first_failure.unwrap();
    assert_eq!(first.path, "New");
    assert!(first.reason.as_deref().unwrap().contains("nobody-exports-this"), "{first:?}");
    // Attached to when it is over, the same operation tells the same.
    let operation = cfn.last_operation(cx, &set.stack_id).await.unwrap().unwrap();
    let again = cfn.follow(cx, &set.stack_id, Since::from(&operation)).await.unwrap();
    assert_eq!((again.status, again.first_failure), (ended.status, Some(first)));
}

#[tokio::test]
async fn the_failure_of_a_nested_stack_is_told_by_its_own_resource() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    world.emulator.create_bucket("nested-templates").await.unwrap();
    let bucket = Bucket { name: "nested-templates".into(), prefix: "jenkins".into() };
    let child = |resource: Value| json!({"Resources": {"Inner": resource}}).to_string();
    let parent = |url: String| json!({"Resources": {"S3Res": {"Type": "AWS::CloudFormation::Stack", "Properties": {"TemplateURL": url}}}});
    let put = async |text: &str| cfn.put_template(cx, text, &bucket).await.unwrap();
    let good = put(&child(json!({"Type": "AWS::SNS::Topic"}))).await;
    let (set, ended) = world.run(&want("nest", Kind::Create, &parent(good)), "cutover-test-1").await;
    assert_eq!(ended.status, "CREATE_COMPLETE");
    let story = cx.report().story();
    assert!(
        story.iter().any(|line| line.contains("CREATE_COMPLETE S3Res/Inner (AWS::SNS::Topic)")),
        "{story:?}"
    );
    let family = cfn.family(cx, &set.stack_id).await.unwrap();
    let paths: Vec<String> = family.iter().map(|node| node.path.join("/")).collect();
    assert_eq!(paths, ["", "S3Res"]);
    assert_eq!(family[1].resources[0].logical_id, "Inner");

    let absent = "arn:aws:lambda:us-east-1:000000000000:function:absent";
    let bad = put(&child(json!({"Type": "Custom::Loader", "Properties": {"ServiceToken": absent}}))).await;
    let (_, ended) = world.run(&want("nest", Kind::Update, &parent(bad)), "cutover-test-2").await;
    assert_eq!(ended.status, "UPDATE_ROLLBACK_COMPLETE");
    let first = ended.first_failure.unwrap();
    let story = cx.report().story();
    assert_eq!(first.path, "S3Res/Inner", "{first:?} of {story:#?}");
}

#[tokio::test]
async fn an_empty_stack_that_was_only_looked_at_is_taken_away() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    let set = world.made(&want("shell", Kind::Create, &tiles("shell", "one")), "cutover-test-1").await;
    assert_eq!(world.status("shell").await.as_deref(), Some("REVIEW_IN_PROGRESS"));
    let kept = cfn.delete_shell(cx, &set.stack_id, "t-1").await.unwrap();
    assert_eq!(kept, Shell::Kept("it has the change set cutover-test-1".into()));
    cfn.delete_set(&set).await.unwrap();
    assert_eq!(cfn.delete_shell(cx, &set.stack_id, "t-1").await.unwrap(), Shell::Deleted);
    assert_eq!(world.status("shell").await, None);

    let (set, _) = world.run(&want("shell", Kind::Create, &tiles("shell", "one")), "cutover-test-2").await;
    let kept = cfn.delete_shell(cx, &set.stack_id, "t-2").await.unwrap();
    assert_eq!(kept, Shell::Kept("it is CREATE_COMPLETE".into()));
    assert_eq!(world.status("shell").await.as_deref(), Some("CREATE_COMPLETE"));
}

#[tokio::test]
async fn somebody_elses_set_is_told() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    world.run(&want("foreign", Kind::Create, &tiles("foreign", "one")), "cutover-test-1").await;
    let theirs = world.made(&want("foreign", Kind::Update, &tiles("foreign", "two")), "h1a2b3c4").await;
    let ours = world.made(&want("foreign", Kind::Update, &tiles("foreign", "three")), "cutover-test-2").await;
    let foreign = cfn.foreign_sets(cx, "foreign").await.unwrap();
    assert_eq!(foreign.iter().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["h1a2b3c4"]);
    // Executing one makes the others go: describing them says so.
    let mark = cfn.mark(cx, &ours.stack_id).await.unwrap();
    cfn.execute(&ours, "t").await.unwrap();
    cfn.follow(cx, &ours.stack_id, mark).await.unwrap();
    let gone = cfn.describe(cx, &theirs.arn).await.unwrap_err();
    assert_eq!(gone.code(), Code::Failed);
    assert!(format!("{gone:?}").contains("make it again"), "{gone:?}");
}

#[tokio::test]
async fn lost_answers_double_nothing() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    let reset = |at: &str| Fault::new(at, Effect::Reset).after_effect().times(1);
    world
        .front
        .set_faults([reset("cloudformation:CreateChangeSet"), reset("cloudformation:ExecuteChangeSet")]);
    let (set, ended) = world.run(&want("lost", Kind::Create, &tiles("lost", "one")), "cutover-test-1").await;
    assert_eq!(ended.status, "CREATE_COMPLETE");
    assert_eq!(world.count("CreateChangeSet"), 2);
    assert_eq!(world.count("ExecuteChangeSet"), 2);
    let begun = cx.report().story().iter().filter(|line| line.contains("CREATE_IN_PROGRESS lost ")).count();
    assert_eq!(begun, 1);
    // The set was executed: a second time is refused, and the token of another call is no excuse.
    let refused = cfn.execute(&set, "another-token").await.unwrap_err();
    assert!(refused.chain()[0].starts_with("InvalidChangeSetStatus"), "{refused:?}");
}

#[tokio::test]
async fn throttling_is_waited_out_and_a_denied_call_names_its_permission() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    let set = world.made(&want("calls", Kind::Create, &tiles("calls", "one")), "cutover-test-1").await;
    let mark = cfn.mark(cx, &set.stack_id).await.unwrap();
    // More than the SDK's own tries.
    let throttled = |at: &str| Fault::error(at, 400, "Throttling", "Rate exceeded").times(4);
    world.front.set_faults([throttled("cloudformation:DescribeStackEvents")]);
    cfn.execute(&set, "t").await.unwrap();
    let ended = cfn.follow(cx, &set.stack_id, mark).await.unwrap();
    assert_eq!(ended.status, "CREATE_COMPLETE");
    assert!(cx.report().story().iter().any(|line| line.contains("Throttling: Rate exceeded")));

    world.front.set_faults([Fault::access_denied("cloudformation:DescribeStacks")]);
    let denied = cfn.observe_stack(cx, "calls").await.unwrap_err();
    assert_eq!(denied.to_string(), "describe stack calls");
    let text = format!("{denied:?}");
    assert!(text.contains("allow `cloudformation:DescribeStacks` on arn:aws:cloudformation:us-east-1:000000000000:stack/calls/*"), "{text}");
}

#[tokio::test]
async fn exports_that_others_import_are_told_with_their_importers() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    let mut core = tiles("exporter", "one");
    core["Outputs"]["TopicArn"]["Export"] = json!({"Name": "exporter-topic"});
    core["Outputs"]["Unused"] = json!({"Value": "x", "Export": {"Name": "exporter-unused"}});
    let (set, ended) = world.run(&want("exporter", Kind::Create, &core), "cutover-test-1").await;
    assert_eq!(ended.outputs["TopicArn"].export.as_deref(), Some("exporter-topic"));
    assert_eq!(cfn.exports_in_use(cx, &set.stack_id).await.unwrap(), Vec::new());
    let importer = json!({"Resources": {"T": {"Type": "AWS::SNS::Topic",
        "Properties": {"DisplayName": {"Fn::ImportValue": "exporter-unused"}}}}});
    let (_, ended) = world.run(&want("importer", Kind::Create, &importer), "cutover-test-1").await;
    assert_eq!(ended.status, "CREATE_COMPLETE");
    let used = cfn.exports_in_use(cx, &set.stack_id).await.unwrap();
    assert_eq!(used, [("exporter-unused".to_owned(), vec!["importer".to_owned()])]);
}

#[tokio::test]
async fn a_large_template_goes_through_the_bucket_once() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    world.emulator.create_bucket("large-templates").await.unwrap();
    let bucket = Bucket { name: "large-templates".into(), prefix: String::new() };
    let mut large = tiles("large", "one");
    large["Metadata"] = json!({"Padding": "x".repeat(BODY_LIMIT)});
    let source = cfn.template_source(cx, &large.to_string(), Some(&bucket)).await.unwrap();
    assert!(
        matches!(&source, TemplateSource::Url(url) if url.starts_with("https://s3.us-east-1.amazonaws.com/large-templates/")),
        "{source:?}"
    );
    assert_eq!(cfn.template_source(cx, &large.to_string(), Some(&bucket)).await.unwrap(), source);
    let want = Want { template: source, ..want("large", Kind::Create, &json!({})) };
    let (set, ended) = world.run(&want, "cutover-test-1").await;
    assert_eq!(ended.status, "CREATE_COMPLETE");
    let read = cfn.original_template(cx, &set.stack_id).await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), large);

    let absent = Bucket { name: "no-such-bucket-here".into(), prefix: String::new() };
    let failed = cfn.template_source(cx, &large.to_string(), Some(&absent)).await.unwrap_err();
    assert!(failed.chain()[0].starts_with("NoSuchBucket"), "{failed:?}");
}

#[tokio::test]
async fn a_policy_of_the_stack_is_set_and_read() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    let (set, _) =
        world.run(&want("guarded", Kind::Create, &tiles("guarded", "one")), "cutover-test-1").await;
    assert_eq!(cfn.stack_policy(cx, &set.stack_id).await.unwrap(), None);
    let policy = json!({"Statement": [{"Effect": "Deny", "Action": "Update:Replace", "Principal": "*",
        "Resource": "LogicalResourceId/TileTable"}]})
    .to_string();
    cfn.set_stack_policy(&set.stack_id, &policy).await.unwrap();
    assert_eq!(cfn.stack_policy(cx, &set.stack_id).await.unwrap(), Some(policy));
}

/// A resource that is made only when it is signalled, and one that comes after it.
fn waiting(name: &str) -> Value {
    let mut template = tiles(name, "two");
    template["Resources"]["Wait"] = json!({"Type": "AWS::CloudFormation::WaitCondition",
        "CreationPolicy": {"ResourceSignal": {"Count": 1, "Timeout": "PT5M"}}});
    template["Resources"]["Late"] = json!({"Type": "AWS::SNS::Topic", "DependsOn": "Wait"});
    template
}

impl World {
    /// Executes an update that stays in progress until it is signalled.
    async fn hang(&self, stack: &str) -> SetRef {
        self.run(&want(stack, Kind::Create, &tiles(stack, "one")), "cutover-test-1").await;
        let set = self.made(&want(stack, Kind::Update, &waiting(stack)), "cutover-test-2").await;
        self.cfn.execute(&set, "update").await.unwrap();
        self.until("the update to hang", async || {
            let mut hangs = false;
            let look = |event: &Event| {
                hangs |= event.logical_id == "Wait";
                events::Stop::No
            };
            self.cfn.events_until(&self.cx, &set.stack_id, look).await.unwrap();
            hangs
        })
        .await;
        set
    }

    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !is_so().await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "waited in vain for {what}: {:?}",
                self.cx.report().story()
            );
            self.cx.pause(Duration::from_millis(20)).await;
        }
    }

    async fn signal(&self, stack: &str) {
        let parameters = [
            ("Action", "SignalResource"),
            ("Version", "2010-05-15"),
            ("StackName", stack),
            ("LogicalResourceId", "Wait"),
            ("UniqueId", "1"),
            ("Status", "SUCCESS"),
        ];
        let (status, text) = self.emulator.query("cloudformation", &parameters).await.unwrap();
        assert_eq!(status, 200, "{text}");
    }
}

#[tokio::test]
async fn a_running_operation_is_attached_to() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    let set = world.hang("attach").await;
    let operation = cfn.last_operation(cx, &set.stack_id).await.unwrap().unwrap();
    assert_eq!(operation.first.token.as_deref(), Some("update"));
    assert!(!Phase::of(&operation.last.status).is_over(), "{}", operation.last.status);
    let follow = cfn.follow(cx, &set.stack_id, Since::from(&operation));
    let signal = async {
        // Only when it has looked in vain.
        let line = "waiting for stack attach: UPDATE_IN_PROGRESS";
        let said = async || cx.report().story().iter().any(|said| said.starts_with(line));
        world.until("the follower", said).await;
        world.signal("attach").await;
    };
    let (ended, ()) = tokio::join!(follow, signal);
    assert_eq!(ended.unwrap().status, "UPDATE_COMPLETE");
    let story = cx.report().story();
    assert!(story.iter().any(|line| line.contains("_COMPLETE Late (AWS::SNS::Topic)")), "{story:?}");
}

#[tokio::test]
async fn a_cancelled_update_is_rolled_back() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    let set = world.hang("cancel").await;
    let mark = cfn.mark(cx, &set.stack_id).await.unwrap();
    cfn.cancel_update(&set.stack_id, "cancel").await.unwrap();
    world.signal("cancel").await;
    let ended = cfn.follow(cx, &set.stack_id, mark).await.unwrap();
    assert_eq!(ended.status, "UPDATE_ROLLBACK_COMPLETE");
    assert_eq!(ended.first_failure, None, "nothing failed: a person wanted it");
    let late = cfn.cancel_update(&set.stack_id, "again").await.unwrap_err();
    assert!(late.chain()[0].contains("current stack status"), "{late:?}");
}

#[tokio::test]
async fn an_update_that_failed_without_a_roll_back_is_rolled_back() {
    let world = World::start().await;
    let (cfn, cx) = (&world.cfn, &world.cx);
    let (set, _) = world.run(&want("halted", Kind::Create, &tiles("halted", "one")), "cutover-test-1").await;
    let mut broken = tiles("halted", "two");
    broken["Resources"]["New"] = json!({"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": {"Fn::ImportValue": "nobody-exports-this"}}});
    let mark = cfn.mark(cx, &set.stack_id).await.unwrap();
    let parameters = [
        ("Action", "UpdateStack"),
        ("Version", "2010-05-15"),
        ("StackName", "halted"),
        ("TemplateBody", &broken.to_string()),
        ("DisableRollback", "true"),
    ];
    let (status, text) = world.emulator.query("cloudformation", &parameters).await.unwrap();
    assert_eq!(status, 200, "{text}");
    let ended = cfn.follow(cx, &set.stack_id, mark).await.unwrap();
    assert_eq!(
        (ended.status.as_str(), ended.phase()),
        ("UPDATE_FAILED", Phase::NeedsRecovery(Recovery::Rollback))
    );
    assert_eq!(ended.first_failure.unwrap().path, "New");

    let mark = cfn.mark(cx, &set.stack_id).await.unwrap();
    cfn.rollback_stack(&set.stack_id, "back").await.unwrap();
    let ended = cfn.follow(cx, &set.stack_id, mark).await.unwrap();
    assert_eq!((ended.status.as_str(), ended.phase()), ("UPDATE_ROLLBACK_COMPLETE", Phase::RolledBack));
    assert_eq!(ended.first_failure, None, "this operation did what it was to do");
}
