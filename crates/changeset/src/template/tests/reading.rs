use serde_json::json;

use super::*;

fn resources(text: &str) -> Value {
    template(text).sections().get("Resources").unwrap().clone()
}

#[test]
fn short_tags_are_the_long_functions() {
    let text = "\
AWSTemplateFormatVersion: 2010-09-09
Resources:
  A:
    Type: T
    Condition: IsProd
    Properties:
      Ref: !Ref B
      Att: !GetAtt Nested.Outputs.Name
      AttList: !GetAtt [B, Arn]
      Sub: !Sub |
        one ${B}
        two
      SubNames: !Sub ['${X}-y', {X: !Ref B}]
      If: !If [IsProd, !Select [0, !Split [',', !Ref List]], !Ref AWS::NoValue]
      Join: !Join [':', [a, !ImportValue Shared]]
      Map: !FindInMap [M, !Ref 'AWS::Region', ami]
      Data: !Base64 hello
      Blocks: !Cidr [10.0.0.0/16, 2, 8]
      Zones: !GetAZs ''
      Include: !Transform {Name: AWS::Include}
Conditions:
  IsProd: !And [!Equals [!Ref E, prod], !Not [!Condition Other], !Or [!Condition A, !Condition B]]
";
    let template = template(text);
    assert_eq!(template.sections().get("AWSTemplateFormatVersion"), Some(&json!("2010-09-09")), "not a date");
    assert_eq!(
        template.sections()["Resources"]["A"]["Properties"],
        json!({
            "Ref": {"Ref": "B"},
            "Att": {"Fn::GetAtt": ["Nested", "Outputs.Name"]},
            "AttList": {"Fn::GetAtt": ["B", "Arn"]},
            "Sub": {"Fn::Sub": "one ${B}\ntwo\n"},
            "SubNames": {"Fn::Sub": ["${X}-y", {"X": {"Ref": "B"}}]},
            "If": {"Fn::If": [
                "IsProd", {"Fn::Select": [0, {"Fn::Split": [",", {"Ref": "List"}]}]}, {"Ref": "AWS::NoValue"}
            ]},
            "Join": {"Fn::Join": [":", ["a", {"Fn::ImportValue": "Shared"}]]},
            "Map": {"Fn::FindInMap": ["M", {"Ref": "AWS::Region"}, "ami"]},
            "Data": {"Fn::Base64": "hello"},
            "Blocks": {"Fn::Cidr": ["10.0.0.0/16", 2, 8]},
            "Zones": {"Fn::GetAZs": ""},
            "Include": {"Fn::Transform": {"Name": "AWS::Include"}},
        })
    );
    assert_eq!(
        template.sections()["Conditions"]["IsProd"],
        json!({"Fn::And": [
            {"Fn::Equals": [{"Ref": "E"}, "prod"]},
            {"Fn::Not": [{"Condition": "Other"}]},
            {"Fn::Or": [{"Condition": "A"}, {"Condition": "B"}]},
        ]})
    );
    let names: Vec<&String> =
        template.sections()["Resources"]["A"]["Properties"].as_object().unwrap().keys().collect();
    assert_eq!(names[0..3], ["Ref", "Att", "AttList"], "the order is the template's");
}

#[test]
fn scalars_are_what_cloudformation_takes_them_for() {
    // yes, no, on and off: https://github.com/aws/aws-cli/pull/5257
    for (written, read) in [
        ("yes", json!(true)),
        ("OFF", json!(false)),
        ("'yes'", json!("yes")),
        ("!!str yes", json!("yes")),
        ("30", json!(30)),
        ("-1.5", json!(-1.5)),
        ("1.10", json!("1.10")),
        ("012345678901", json!("012345678901")),
        ("123456789012", json!(123_456_789_012_i64)),
        ("1e3", json!("1e3")),
        ("nan", json!("nan")),
        ("2010-09-09", json!("2010-09-09")),
        ("22:22", json!("22:22")),
        ("~", Value::Null),
    ] {
        let read_as = resources(&format!("Resources:\n  A:\n    Type: T\n    P: {written}\n"));
        assert_eq!(read_as["A"]["P"], read, "{written}");
    }
}

#[test]
fn an_anchor_is_repeated_and_merged() {
    let read = resources(
        "Resources:\n  A: &a\n    Type: T\n    Properties: {X: 1, Y: 2}\n  B: *a\n  C:\n    <<: *a\n    Type: U\n",
    );
    assert_eq!(read["B"], read["A"]);
    assert_eq!(read["C"], json!({"Type": "U", "Properties": {"X": 1, "Y": 2}}));
}

fn why(text: &str) -> String {
    Template::parse(text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn what_is_malformed_is_told_with_its_place() {
    for (text, said) in [
        (
            "{\n  \"Resources\": {\"A\": {\"Type\": \"T\"},}\n}",
            "line 2, column 36: a comma stands before a closing bracket",
        ),
        ("{\"Resources\": {\"A\": {\"Type\": \"T\"}}", "the file ends too early"),
        (
            "{\n\"Resources\": {\"A\": {}}\n\"Outputs\": {}\n}",
            "line 3, column 1: a comma is missing at the end of the line before",
        ),
        ("{\"Resources\": {\"A\": {}, \"A\": {}}}", "the key `A` stands twice in one object"),
        (
            "Resources:\n  A:\n    Type: T\n  A:\n    Type: U\n",
            "line 4, column 3: the key `A` stands twice in one mapping",
        ),
        ("Resources:\n  A:\n\tType: T\n", "line 3"),
        ("Resources:\n  A: {Type: T\nOutputs: {}\n", "line 3"),
        ("Resources:\n  A: !!binary aGVsbG8=\n", "CloudFormation does not read the tag `!!binary`"),
        (
            "Resources:\n  A: {Type: T}\n---\nResources: {}\n",
            "line 4, column 1: a second document begins here",
        ),
        ("Resources: {}\n", "there is no section Resources with a resource in it"),
        ("[]", "a template is an object"),
        ("", "a template is an object"),
    ] {
        let told = why(text);
        assert!(told.contains(said), "{text:?}: {told}");
    }
}

#[test]
fn a_line_that_may_hold_a_secret_is_not_shown() {
    let text = "{\"Resources\": {\n\"MasterUserPassword\": \"hunter2\" oops,\n\"B\": {}}}";
    let told = why(text);
    assert!(told.contains("line 2") && told.contains("may hold a secret"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_template_is_not_printed_by_accident() {
    let template = template("Resources: {A: {Type: T, Properties: {MasterUserPassword: hunter2}}}");
    assert!(!format!("{template:?}").contains("hunter2"));
}

#[test]
fn a_few_lines_can_t_fill_the_memory() {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (letter, before) in
        ["b", "c", "d", "e", "f", "g", "h"].iter().zip(["a", "b", "c", "d", "e", "f", "g"])
    {
        text.push_str(&format!("{letter}: &{letter} [{}]\n", vec![format!("*{before}"); 10].join(",")));
    }
    assert!(why(&text).contains("the aliases make too much of too little"));
    let told = why(&format!("a: {}{}", "[".repeat(200), "]".repeat(200)));
    assert!(told.contains("nested too deep"), "{told}");
}
