use super::*;

fn derived(template: &Value, parameters: &[(&str, &str)]) -> (Value, Vec<String>) {
    let parameters =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let derived = derive(&template.to_string(), &parameters).unwrap();
    let changes = derived.changes.iter().map(ToString::to_string).collect();
    (serde_json::from_str(&derived.text).unwrap(), changes)
}

#[test]
fn a_template_without_refused_types_is_its_own_copy() {
    let text = "{ \"Resources\" : {\"T\":{\"Type\":\"AWS::DynamoDB::Table\"}} }\n";
    let derived = derive(text, &BTreeMap::new()).unwrap();
    assert_eq!(derived, Derived { text: text.to_owned(), changes: vec![] });
}

#[test]
fn a_refused_resource_becomes_a_placeholder_and_its_attributes_references() {
    let (template, changes) = derived(
        &json!({
            "Resources": {
                "Table": {"Type": "AWS::DynamoDB::Table", "DependsOn": "Host"},
                "Host": {
                    "Type": "AWS::EC2::Instance",
                    "Condition": "Wanted",
                    "DependsOn": "Table",
                    "DeletionPolicy": "Retain",
                    "CreationPolicy": {"ResourceSignal": {"Timeout": "PT45M"}},
                    "Properties": {"InstanceType": "t3.micro", "SubnetId": {"Ref": "Subnet"}},
                },
                "Hook": {"Type": "Custom::DeleteENI", "Properties": {"ServiceToken": "arn"}},
                "Record": {"Type": "AWS::Route53::RecordSet", "Properties": {
                    "Listed": {"Fn::GetAtt": ["Host", "PrivateDnsName"]},
                    "Dotted": {"Fn::GetAtt": "Host.PrivateDnsName"},
                    "Other": {"Fn::GetAtt": ["Table", "Arn"]},
                    "Id": {"Ref": "Host"},
                    "Text": {"Fn::Sub": "${Host.PrivateIp}:${Port}:${Hostess.Name}"},
                    "TextWithNames": {"Fn::Sub": ["${Host.PrivateIp}-${A}", {"A": {"Fn::GetAtt": ["Host", "AZ"]}}]},
                }},
            },
            "Outputs": {"Address": {"Value": {"Fn::GetAtt": ["Host", "PrivateIp"]}}},
        }),
        &[],
    );
    assert_eq!(changes, ["Host (AWS::EC2::Instance)", "Hook (Custom::DeleteENI)"]);
    let resources = &template["Resources"];
    assert_eq!(
        resources["Host"],
        json!({
            "Type": "AWS::CloudFormation::WaitConditionHandle",
            "Condition": "Wanted",
            "DependsOn": "Table",
            "DeletionPolicy": "Retain",
            "Metadata": {"DerivedFrom": {
                "Type": "AWS::EC2::Instance",
                "Properties": {"InstanceType": "t3.micro", "SubnetId": {"Ref": "Subnet"}},
            }},
        })
    );
    assert_eq!(resources["Table"], json!({"Type": "AWS::DynamoDB::Table", "DependsOn": "Host"}));
    assert_eq!(
        resources["Record"]["Properties"],
        json!({
            "Listed": {"Ref": "Host"},
            "Dotted": {"Ref": "Host"},
            "Other": {"Fn::GetAtt": ["Table", "Arn"]},
            "Id": {"Ref": "Host"},
            "Text": {"Fn::Sub": "${Host}:${Port}:${Hostess.Name}"},
            "TextWithNames": {"Fn::Sub": ["${Host}-${A}", {"A": {"Ref": "Host"}}]},
        })
    );
    assert_eq!(template["Outputs"]["Address"]["Value"], json!({"Ref": "Host"}));
}

/// The two conditions of plus3it's template for the Jenkins master that the emulator cannot evaluate.
#[test]
fn conditions_get_constants_where_something_is_joined_or_split() {
    let generation =
        json!({"Fn::Equals": [{"Fn::Select": ["0", {"Fn::Split": [".", {"Ref": "InstanceType"}]}]}, "m5"]});
    let balanced = json!({"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Names"}]}, ""]}]});
    let plain = json!({"Fn::Equals": [{"Ref": "InstanceType"}, "m5.large"]});
    let template = json!({
        "Parameters": {
            "InstanceType": {"Type": "String", "Default": "t2.xlarge"},
            "Names": {"Type": "CommaDelimitedList", "Default": ""},
        },
        "Conditions": {"FifthGeneration": generation, "Balanced": balanced, "Plain": plain},
        "Resources": {"Group": {"Type": "AWS::AutoScaling::AutoScalingGroup"}},
    });
    let (copy, changes) = derived(&template, &[("Names", "jenkins-new,jenkins-old")]);
    assert_eq!(changes, ["condition FifthGeneration", "condition Balanced"]);
    assert_eq!(copy["Conditions"]["FifthGeneration"], json!({"Fn::Equals": ["t2", "m5"]}));
    assert_eq!(
        copy["Conditions"]["Balanced"],
        json!({"Fn::Not": [{"Fn::Equals": ["jenkins-newjenkins-old", ""]}]})
    );
    assert_eq!(copy["Conditions"]["Plain"], plain);
    let (copy, _) = derived(&template, &[("InstanceType", "m5.large")]);
    assert_eq!(copy["Conditions"]["FifthGeneration"], json!({"Fn::Equals": ["m5", "m5"]}));
    assert_eq!(copy["Conditions"]["Balanced"], json!({"Fn::Not": [{"Fn::Equals": ["", ""]}]}));
}

#[test]
fn what_is_no_template_is_an_error() {
    assert!(derive("{", &BTreeMap::new()).is_err());
    assert!(derive("{}", &BTreeMap::new()).is_err());
}
