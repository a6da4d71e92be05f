use super::*;

fn file(text: &str) -> ParameterFile {
    ParameterFile::parse(text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn pairs(text: &str) -> Vec<(String, Option<String>)> {
    let value = |value: GivenValue| match value {
        GivenValue::Text(text) => Some(text),
        GivenValue::Previous => None,
    };
    file(text).given.into_iter().map(|given| (given.parameter, value(given.value))).collect()
}

fn text(name: &str, value: &str) -> (String, Option<String>) {
    (name.to_owned(), Some(value.to_owned()))
}

#[test]
fn the_three_forms_and_yaml_are_read() {
    let expected = vec![text("Env", "prod"), text("Size", "")];
    for source in [
        r#"[{"ParameterKey": "Env", "ParameterValue": "prod", "UsePreviousValue": false}, {"ParameterKey": "Size", "ParameterValue": ""}]"#,
        r#"{"Env": "prod", "Size": ""}"#,
        r#"{"Parameters": {"Env": "prod", "Size": ""}, "Tags": {"Owner": "me"}}"#,
        "Env: prod\nSize: ''\n",
        "- ParameterKey: Env\n  ParameterValue: prod\n- ParameterKey: Size\n  ParameterValue: ''\n",
    ] {
        assert_eq!(pairs(source), expected, "{source}");
    }
    assert_eq!(
        pairs(r#"[{"ParameterKey": "Password", "UsePreviousValue": true}]"#),
        [("Password".to_owned(), None)]
    );
    assert_eq!(
        file(r#"{"Parameters": {}, "Tags": {"Owner": "me"}}"#).tags,
        [("Owner".to_owned(), "me".to_owned())]
    );
    assert_eq!(file(r#"{"Parameters": "x"}"#).given.len(), 1, "a parameter may be called Parameters");
}

#[test]
fn what_stands_without_quotes_is_a_text() {
    let read = file(
        "[\n{\"ParameterKey\": \"Port\", \"ParameterValue\": 8080},\n{\"ParameterKey\": \"Tls\", \"ParameterValue\": true}\n]",
    );
    let values = read.values(&BTreeMap::new());
    assert_eq!(values["Port"], "8080");
    assert_eq!(values["Tls"], "true");
    assert_eq!(read.notes.len(), 2);
    assert!(read.notes[0].contains("Port stands without quotes"), "{:?}", read.notes);
    assert_eq!(read.given[1].line, Some(3));
    let tabs = file("{\r\n\t\"A\": \"1\",\r\n\t\"B\": \"2\"\r\n}\r\n");
    assert_eq!(tabs.given[1].line, Some(3), "with tabs and the line ends of Windows");
    // What YAML would make another value of is meant as it is written.
    assert_eq!(
        pairs("Version: 1.10\nAccount: 012345678901\nAnswer: yes\n"),
        [text("Version", "1.10"), text("Account", "012345678901"), text("Answer", "yes")]
    );
}

#[test]
fn what_can_t_be_a_parameter_is_told_with_its_line() {
    for (source, said) in [
        (
            "{\n\"A\": 1.10\n}",
            "line 2: the value of A must be a text: put the number in quotes: `\"A\": 1.10`",
        ),
        ("{\n\"A\": null}", "line 2: A has no value"),
        ("{\"A\": [\"x\", \"y\"]}", "the value of A must be one text, its members separated by commas"),
        ("{\"A\": {\"x\": \"y\"}}", "the value of A must be a text"),
        ("{\"A\": \"1\", \"A\": \"2\"}", "the key `A` stands twice"),
        (
            "[{\"ParameterKey\": \"A\", \"ParameterValue\": \"1\"},\n{\"ParameterKey\": \"A\", \"ParameterValue\": \"2\"}]",
            "line 2: A is given twice",
        ),
        (
            "[{\"ParameterKey\": \"A\", \"ParamaterValue\": \"1\"}]",
            "there is no ParamaterValue: ParameterValue?",
        ),
        ("[{\"ParameterKey\": \"A\"}]", "A has neither a value nor UsePreviousValue"),
        (
            "[{\"ParameterKey\": \"A\", \"ParameterValue\": \"1\", \"UsePreviousValue\": true}]",
            "A has both a value and UsePreviousValue",
        ),
        ("[{\"ParameterValue\": \"1\"}]", "the ParameterKey is missing"),
        ("{\"Parameters\": {}, \"Capabilities\": {}}", "beside Parameters and Tags there is no Capabilities"),
        ("{\n\t\"A\": null\n}", "line 2: A has no value"),
        ("{\"A\": \"x\" // why\n}", "after the value only `,` or `}` may stand"),
        ("{\"A\": \"say \"hi\" now\"}", r#"a `"` within a text must be written `\"`"#),
    ] {
        let told = ParameterFile::parse(source, &[]).unwrap_err().to_string();
        assert!(told.contains(said), "{source}: {told}");
    }
}

#[test]
fn the_line_of_a_secret_is_not_shown() {
    for source in [
        "[\n{\n\"ParameterKey\": \"DbPassword\",\n\"ParameterValue\": \"hunter2\n}\n]",
        "[\n{\n\"ParameterValue\": \"hunter2\" # mine\n,\"ParameterKey\": \"DbPassword\"\n}\n]",
        "{\n\"DbPassword\": \"hunter2\" oops\n}",
    ] {
        let told = ParameterFile::parse(source, &[]).unwrap_err().to_string();
        assert!(!told.contains("hunter2") && told.contains("may hold a secret"), "{told}");
    }
    let told = ParameterFile::parse("{\n\"Pin\": \"4711\" oops\n}", &["Pin"]).unwrap_err().to_string();
    assert!(!told.contains("4711"), "{told}");
    assert!(!format!("{:?}", file("{\"Pin\": \"4711\"}")).contains("4711"));
}

const DECLARED: &str = r#"{
  "Parameters": {
    "Needed": {"Type": "String", "Description": "the bucket"},
    "Env": {"Type": "String", "Default": "dev", "AllowedValues": ["dev", "prod"], "ConstraintDescription": "dev or prod"},
    "Zone": {"Type": "String", "Default": "a1", "AllowedPattern": "[a-z][0-9]+"},
    "Name": {"Type": "String", "Default": "abc", "MinLength": 2, "MaxLength": "4"},
    "Port": {"Type": "Number", "Default": 80, "MinValue": 1, "MaxValue": 65535},
    "Ports": {"Type": "List<Number>", "Default": "80,443"},
    "Stages": {"Type": "CommaDelimitedList", "Default": "a", "AllowedValues": ["a", "b"]},
    "Vpc": {"Type": "AWS::EC2::VPC::Id", "Default": "vpc-a123baa3"},
    "Subnets": {"Type": "List<AWS::EC2::Subnet::Id>", "Default": "subnet-123a351e, subnet-456b351e"},
    "Key": {"Type": "AWS::EC2::KeyPair::KeyName", "Default": "any name"},
    "Pin": {"Type": "String", "Default": "0000", "NoEcho": true, "AllowedPattern": "[0-9]{4}", "AllowedValues": ["0000", "1111"], "MaxLength": 4},
    "Odd": {"Type": "String", "Default": "", "AllowedPattern": "\\p{NoSuchProperty}"},
    "Ahead": {"Type": "String", "Default": "", "AllowedPattern": "(?!aws-).*"}
  },
  "Resources": {"A": {"Type": "T"}}
}"#;

fn problems(given: &[(&str, &str)], previous: Option<&[&str]>) -> Vec<(String, String)> {
    let given: Vec<Given> = given
        .iter()
        .map(|(name, value)| Given {
            parameter: (*name).to_owned(),
            value: GivenValue::Text((*value).to_owned()),
            line: None,
        })
        .collect();
    check_parameters(&template(DECLARED), &given, previous)
        .into_iter()
        .filter(|problem| !problem.is_warning())
        .map(|problem| (problem.parameter, problem.text))
        .collect()
}

#[test]
fn defaults_that_keep_their_own_rules_are_fine() {
    assert_eq!(problems(&[("Needed", "x")], None), []);
}

#[test]
fn each_rule_of_the_parameters_page_is_held() {
    for (name, value, said) in [
        ("Env", "prd", "`prd` is not one of dev, prod; did you mean prod? (dev or prod)"),
        ("Zone", "a1b", "`a1b` does not match AllowedPattern `[a-z][0-9]+`"),
        ("Zone", "xa1", "does not match"),
        ("Name", "a", "its value has 1 characters; MinLength is 2"),
        ("Name", "abcde", "its value has 5 characters; MaxLength is 4"),
        ("Port", "http", "`http` is not a number"),
        ("Port", "0", "`0` is less than MinValue 1"),
        ("Port", "65536", "`65536` is more than MaxValue 65535"),
        ("Port", "inf", "`inf` is not a number"),
        ("Ports", "80,x", "`x` is not a number"),
        ("Stages", "a,c", "`c` is not one of a, b"),
        ("Vpc", "subnet-123a351e", "`subnet-123a351e` does not look like an AWS::EC2::VPC::Id"),
        (
            "Subnets",
            "subnet-123a351e,sg-a123fd85",
            "`sg-a123fd85` does not look like an AWS::EC2::Subnet::Id",
        ),
        ("Ahead", "aws-x", "does not match"),
        ("Zone", "<ZONE>", "still has a placeholder: `<ZONE>`"),
        ("Name", "s3.<AWS_REGION><AWS_URL_SUFFIX>/x", "still has a placeholder"),
        ("Name", "<(null) || dev || test || prod>", "still has a placeholder"),
        ("Zones", "a1", "is not a parameter of the template; did you mean Zone?"),
    ] {
        let found = problems(&[("Needed", "x"), (name, value)], None);
        let told = |text: &str| {
            if said.starts_with("does") || said.starts_with("still") {
                text.contains(said)
            } else {
                text == said
            }
        };
        assert!(found.len() == 1 && found[0].0 == name && told(&found[0].1), "{name}={value}: {found:?}");
    }
    for (name, value) in
        [("Port", "1.5"), ("Port", "-0.5e1"), ("Stages", "b , a"), ("Key", "<b>x</b>"), ("Ahead", "a<b")]
    {
        let found = problems(&[("Needed", "x"), (name, value)], None);
        assert!(found.iter().all(|(_, text)| text.contains("MinValue")), "{name}={value}: {found:?}");
    }
}

#[test]
fn everything_is_told_at_once_and_no_secret_with_it() {
    let found = problems(&[("Env", "x"), ("Port", "x"), ("Pin", "hunter2"), ("Typo", "x")], None);
    let named: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(named, ["Needed", "Env", "Port", "Pin", "Pin", "Pin", "Typo"]);
    assert_eq!(found[0].1, "is not given and has no default: a value of type String (the bucket)");
    assert!(found.iter().all(|(_, text)| !text.contains("hunter2")), "{found:?}");
}

#[test]
fn an_update_keeps_what_is_not_given() {
    assert_eq!(problems(&[], Some(&["Needed"])), []);
    assert_eq!(problems(&[], Some(&["Env"])).len(), 1);
    let asks = [Given { parameter: "Needed".to_owned(), value: GivenValue::Previous, line: Some(7) }];
    let told = |previous| check_parameters(&template(DECLARED), &asks, previous)[0].to_string();
    assert_eq!(told(None), "line 7: Needed asks for the previous value, and the stack does not exist yet");
    assert_eq!(
        told(Some(&["Env"])),
        "line 7: Needed asks for the previous value, and the deployed stack has no such parameter"
    );
    assert_eq!(
        check_parameters(&template(DECLARED), &asks, Some(&["Needed"]))
            .iter()
            .filter(|it| !it.is_warning())
            .count(),
        0
    );
}

#[test]
fn a_pattern_that_can_t_be_read_is_said_to_be_unchecked() {
    let found = check_parameters(&template(DECLARED), &[], Some(&["Needed"]));
    assert_eq!(found.len(), 1);
    assert!(found[0].is_warning() && found[0].parameter == "Odd", "{found:?}");
}
