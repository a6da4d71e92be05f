use serde_json::json;

use super::*;

const TEMPLATE: &str = "
Parameters:
  Env: {Type: String, Default: dev}
  Subnets: {Type: CommaDelimitedList, Default: 'a, b'}
  Password: {Type: String, NoEcho: 'true'}
  Ami: {Type: 'AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>', Default: /ami}
Mappings:
  Sizes:
    dev: {Disk: 8}
    prod: {Disk: 100}
Conditions:
  IsProd: !Equals [!Ref Env, prod]
  IsDev: !Not [!Condition IsProd]
  HasPassword: !Not [!Equals [!Ref Password, '']]
  SpecialAmi: !Equals [!Ref Ami, ami-1]
  Either: !Or [!Condition SpecialAmi, !Condition IsProd]
  Both: !And [!Condition SpecialAmi, !Condition IsProd]
  Circle: !Not [!Condition Circle]
Resources:
  OnlyProd: {Type: T, Condition: IsProd}
  OnlyDev: {Type: T, Condition: IsDev}
  Secured: {Type: T, Condition: HasPassword}
  Special: {Type: T, Condition: SpecialAmi}
  InEither: {Type: T, Condition: Either}
  InBoth: {Type: T, Condition: Both}
  InCircle: {Type: T, Condition: Circle}
  A:
    Type: T
    Properties:
      Name: !Sub '${AWS::StackName}-${Env}-${!Literal}'
      Suffixed: !Sub ['${Env}.${Zone}', {Zone: !Select [1, !Ref Subnets]}]
      Of: !Sub '${OnlyDev.Arn}'
      Disk: !FindInMap [Sizes, !Ref Env, Disk]
      Subnets: !Ref Subnets
      Joined: !Join ['/', !Ref Subnets]
      Second: !Select [1, !Split ['-', 'x-y-z']]
      Secret: !Ref Password
      SecretText: !Sub 'p=${Password}'
      Image: !Ref Ami
      Gone: !If [IsProd, x, !Ref AWS::NoValue]
      Open: !If [SpecialAmi, !Ref Env, !Ref AWS::NoValue]
      Same: !If [SpecialAmi, !Ref Env, dev]
      Suffix: !Ref AWS::URLSuffix
      Elsewhere: !ImportValue shared
";

fn with(parameters: &[(&str, &str)]) -> Resolved {
    let parameters =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let pseudo = Pseudo {
        region: Some("eu-west-1".to_owned()),
        stack_name: Some("web".to_owned()),
        ..Pseudo::default()
    };
    template(TEMPLATE).resolve(&parameters, &pseudo)
}

#[test]
fn what_is_known_is_carried_out_and_what_is_not_is_left() {
    let resolved = with(&[("Password", "hunter2")]);
    assert_eq!(
        resolved.resource("A").unwrap().properties,
        json!({
            "Name": "web-dev-${Literal}",
            "Suffixed": "dev.b",
            "Of": {"Fn::Sub": "${OnlyDev.Arn}"},
            "Disk": 8,
            "Subnets": ["a", "b"],
            "Joined": "a/b",
            "Second": "y",
            "Secret": {"Ref": "Password"},
            "SecretText": {"Fn::Sub": "p=${Password}"},
            "Image": {"Ref": "Ami"},
            "Open": {"Fn::If": ["SpecialAmi", "dev", {"Ref": "AWS::NoValue"}]},
            "Same": "dev",
            "Suffix": "amazonaws.com",
            "Elsewhere": {"Fn::ImportValue": "shared"},
        })
    );
}

#[test]
fn conditions_decide_who_is_there() {
    let there = |resolved: &Resolved| -> Vec<(String, Presence)> {
        resolved.resources.iter().map(|it| (it.logical_id.clone(), it.presence)).collect()
    };
    let (certain, unknown) = (Presence::Certain, Presence::Unknown);
    let expected = |names: &[(&str, Presence)]| -> Vec<(String, Presence)> {
        names.iter().map(|(name, presence)| ((*name).to_owned(), *presence)).collect()
    };
    assert_eq!(
        there(&with(&[("Password", "hunter2")])),
        expected(&[
            ("OnlyDev", certain),
            ("Secured", certain),
            ("Special", unknown),
            ("InEither", unknown),
            ("InCircle", unknown),
            ("A", certain),
        ]),
        "an And with something false is false"
    );
    assert_eq!(
        there(&with(&[("Password", ""), ("Env", "prod")])),
        expected(&[
            ("OnlyProd", certain),
            ("Special", unknown),
            ("InEither", certain),
            ("InBoth", unknown),
            ("InCircle", unknown),
            ("A", certain),
        ]),
        "an Or with something true is true"
    );
    let masked = with(&[("Password", "****")]);
    assert_eq!(masked.resource("Secured").unwrap().presence, unknown, "AWS shows asterisks for NoEcho");
}

#[test]
fn loops_and_macros_are_told() {
    let resolved = resolved(
        "Transform: [AWS::LanguageExtensions, {Name: Mine}]\nResources:\n  Fn::ForEach::T: [X, [a, b], {'${X}': {Type: T}}]\n  B: {Type: T}\n",
    );
    assert_eq!(resolved.transforms, ["AWS::LanguageExtensions", "Mine"]);
    assert_eq!(resolved.loops.len(), 1);
    assert_eq!(resolved.resources.len(), 1);
}

#[test]
fn policies_are_those_in_effect() {
    // Defaults and snapshots: the pages of DeletionPolicy and UpdateReplacePolicy.
    let resolved = resolved(
        "
Resources:
  Plain: {Type: 'AWS::DynamoDB::Table'}
  Cluster: {Type: 'AWS::RDS::DBCluster'}
  Alone: {Type: 'AWS::RDS::DBInstance', Properties: {Engine: mysql}}
  Member: {Type: 'AWS::RDS::DBInstance', Properties: {DBClusterIdentifier: !Ref Cluster}}
  Explicit: {Type: 'AWS::RDS::DBInstance', DeletionPolicy: Delete, UpdateReplacePolicy: Snapshot}
  Kept: {Type: 'AWS::S3::Bucket', DeletionPolicy: RetainExceptOnCreate, UpdateReplacePolicy: Retain}
  NoSnapshots: {Type: 'AWS::S3::Bucket', DeletionPolicy: Snapshot}
  Chosen: {Type: 'AWS::S3::Bucket', DeletionPolicy: !If [C, Retain, Delete]}
  Fetched: {Type: 'AWS::S3::Bucket', DeletionPolicy: !ImportValue policy}
Conditions:
  C: !Equals [!ImportValue x, y]
",
    );
    let of = |name: &str| {
        let policies = resolved.policies(name).unwrap();
        (policies.deletion, policies.update_replace)
    };
    assert_eq!(of("Plain"), (Policy::Delete, Policy::Delete));
    assert_eq!(of("Cluster"), (Policy::Snapshot, Policy::Delete));
    assert_eq!(of("Alone"), (Policy::Snapshot, Policy::Delete));
    assert_eq!(of("Member"), (Policy::Delete, Policy::Delete));
    assert_eq!(of("Explicit"), (Policy::Delete, Policy::Snapshot));
    assert_eq!(of("Kept"), (Policy::RetainExceptOnCreate, Policy::Retain));
    assert_eq!(of("NoSnapshots"), (Policy::Delete, Policy::Delete));
    assert_eq!(of("Chosen"), (Policy::Delete, Policy::Delete), "of an open choice the weaker counts");
    assert_eq!(of("Fetched"), (Policy::Unknown, Policy::Delete));
}
