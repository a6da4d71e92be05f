//! The files that people really have.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn boss(inputs: &Path, version: &str) -> Resolved {
    let folder = inputs.join("jhuapl-boss+boss-manage-generated").join(version);
    let text = fs::read_to_string(folder.join("ApiProductionBoss.template")).unwrap();
    let arguments = fs::read_to_string(folder.join("ApiProductionBoss.arguments")).unwrap();
    let values = ParameterFile::parse(&arguments, &[]).unwrap().values(&BTreeMap::new());
    template(&text).resolve(&values, &Pseudo::default())
}

/// The api stack of the Boss: which pairs of versions can be updated is in runbooks.md, finding 12 and B23.
#[test]
fn the_index_that_boss_renamed_is_refused_and_its_way_round_passes() {
    let Some(inputs) = testkit::inputs::recorded("BossDB's indexes") else { return };
    let version = |commit: &str| boss(&inputs, &format!("gsi-history/{commit}"));
    let found = compare(&version("583f06e"), &version("81bfbfb"));
    let [Finding { logical_id, kind: FindingKind::SeveralIndexChanges { created, deleted, split }, text }] =
        found.as_slice()
    else {
        panic!("{found:?}");
    };
    assert_eq!(logical_id, "tileIndex");
    assert_eq!(
        (created.as_slice(), deleted.as_slice()),
        (["task_id_index".to_owned()].as_slice(), ["task_index".to_owned()].as_slice())
    );
    assert_eq!(split.len(), 2);
    assert!(
        split[0].contains("take the index task_index out")
            && split[0].contains("appended_task_id from AttributeDefinitions")
    );
    assert!(split[1].contains("add the index task_id_index") && split[1].contains("ACTIVE"));
    assert!(text.contains("deletes task_index and creates task_id_index"), "{text}");
    // The way that they went then.
    assert_eq!(compare(&version("583f06e"), &version("19f52d1")), []);
    assert_eq!(compare(&version("19f52d1"), &version("3e84e82")), []);
    // The same name with another key is both too; items that expire are deleted from then on.
    let found = compare(&version("e03b10d"), &version("583f06e"));
    let [index, expiry] = found.as_slice() else { panic!("{found:?}") };
    let task_index = vec!["task_index".to_owned()];
    assert!(
        matches!(&index.kind, FindingKind::SeveralIndexChanges { created, deleted, .. } if *created == task_index && *deleted == task_index),
        "{index:?}"
    );
    assert!(
        matches!(&expiry.kind, FindingKind::InPlaceRisk { property, .. } if property == "TimeToLiveSpecification"),
        "{expiry:?}"
    );
}

/// Finding 10 of runbooks.md: the database is deleted with its stack by the template's own word, no table has a policy.
#[test]
fn boss_deletes_its_data_with_its_stacks() {
    let Some(inputs) = testkit::inputs::recorded("BossDB's policies") else { return };
    let api = boss(&inputs, "production");
    assert_eq!(api.policies("EndpointDB").unwrap().deletion, Policy::Delete);
    let index = api.resource("tileIndex").unwrap().custom_name();
    assert_eq!(index, Some(("TableName", "tileindex.production.boss".to_owned())));
    let tables: Vec<&Resource> =
        api.resources.iter().filter(|resource| resource.resource_type == "AWS::DynamoDB::Table").collect();
    assert!(!tables.is_empty());
    for table in tables {
        assert_eq!(table.policies, Policies { deletion: Policy::Delete, update_replace: Policy::Delete });
        assert!(table.custom_name().is_some_and(|(property, _)| property == "TableName"), "finding 17");
    }
}

#[test]
fn every_recorded_template_is_read_and_its_parameters_fit() {
    let Some(inputs) = testkit::inputs::recorded("templates of others") else { return };
    let folders = [
        "plus3it+cfn-jenkins/Templates",
        "jhuapl-boss+boss-manage-generated",
        "aws-samples+ecs-refarch-cloudformation",
    ];
    let (mut templates, mut checked) = (0, 0);
    for path in folders.iter().flat_map(|folder| files(&inputs.join(folder))) {
        let text = fs::read_to_string(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "arguments") {
            continue;
        }
        let template = Template::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // JSON is YAML: both readers must say the same of it.
        let as_yaml = yaml::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(as_yaml.as_object(), Some(template.sections()), "{}", path.display());
        let resolved = template.resolve(&BTreeMap::new(), &Pseudo::default());
        assert!(!resolved.resources.is_empty(), "{}", path.display());
        assert_eq!(compare(&resolved, &resolved), [], "{}", path.display());
        templates += 1;
        if let Ok(arguments) = fs::read_to_string(path.with_extension("arguments")) {
            let given = ParameterFile::parse(&arguments, &template.no_echo()).unwrap().given;
            let problems: Vec<String> =
                check_parameters(&template, &given, None).iter().map(ToString::to_string).collect();
            assert!(problems.is_empty(), "{}: {problems:?}", path.display());
            checked += 1;
        }
    }
    assert_eq!((templates, checked), (46, 21));
}

/// J4 of runbooks.md: two of the three are not JSON.
#[test]
fn the_parameter_files_of_jenkins_are_told_line_by_line() {
    let Some(inputs) = testkit::inputs::recorded("Jenkins' parameter files") else { return };
    let read = |name: &str| fs::read_to_string(inputs.join("plus3it+cfn-jenkins").join(name)).unwrap();
    let flaws = |name: &str| ParameterFile::parse(&read(name), &[]).unwrap_err().flaws;
    let load_balancer = flaws("docs/ELBv1.parameters");
    assert_eq!(load_balancer.iter().map(|flaw| flaw.line).collect::<Vec<_>>(), [4, 8]);
    assert_eq!(
        load_balancer[0].to_string(),
        "line 4, column 50: after the value only `,` or `}` may stand: what follows is not JSON, which has no comments: \
         `\"ParameterValue\": \"<TIMEOUT_IN_SECONDS>\" <-- Recommend value >= 600`"
    );
    assert!(load_balancer[1].why.contains("a `\"` is missing on this line"), "{:?}", load_balancer[1]);
    let instance = flaws("docs/ec2.parameters");
    assert_eq!(instance.iter().map(|flaw| flaw.line).collect::<Vec<_>>(), [16, 24, 48, 76]);
    assert!(instance[1].why.contains("within a text"), "{:?}", instance[1]);

    let infrastructure = template(&read("Templates/make_jenkins_infra.tmplt.json"));
    let given = ParameterFile::parse(&read("docs/infrastructure.parameters"), &[]).unwrap().given;
    let problems = check_parameters(&infrastructure, &given, None);
    let of = |wanted: fn(&ProblemKind) -> bool| -> Vec<&str> {
        problems.iter().filter(|it| wanted(&it.kind)).map(|it| it.parameter.as_str()).collect()
    };
    assert_eq!(
        of(|kind| *kind == ProblemKind::Placeholder),
        [
            "BucketTemplate",
            "IamRoleTemplate",
            "JenkinsAgentPort",
            "RolePrefix",
            "SecurityGroupTemplate",
            "TargetVPC"
        ]
    );
    // The example is older than the template.
    assert_eq!(of(|kind| *kind == ProblemKind::Missing), ["CloudwatchBucketName"]);
    assert_eq!(of(|kind| matches!(kind, ProblemKind::Unknown { .. })), ["JenkinsBackupBucket", "ServiceTld"]);
    assert!(problems.iter().any(|it| it.parameter == "TargetVPC" && it.line == Some(31)), "{problems:?}");
}
