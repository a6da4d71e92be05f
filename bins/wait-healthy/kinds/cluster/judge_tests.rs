use super::*;

fn health(changes: &[(&str, Value)]) -> Health {
    // <https://www.elastic.co/guide/en/elasticsearch/reference/5.6/cluster-health.html>, for a quiet cluster of one node.
    let mut body = json!({
        "cluster_name": "testcluster", "status": "yellow", "timed_out": false, "number_of_nodes": 1,
        "number_of_data_nodes": 1, "active_primary_shards": 5, "active_shards": 5, "relocating_shards": 0,
        "initializing_shards": 0, "unassigned_shards": 5, "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0, "number_of_in_flight_fetch": 0, "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": 50.0,
    });
    for (field, value) in changes {
        body[*field] = value.clone();
    }
    serde_json::from_value(body).unwrap()
}

fn verdict(state: State, changes: &[(&str, Value)]) -> Result<String, String> {
    let wanted = Wanted { state, cluster: None, nodes: None, names: Vec::new() };
    let node = Node { name: "node-0".into(), version: "5.6.16".into() };
    let seen = Seen { health: health(changes), nodes: vec![node], lacking: BTreeMap::new(), explained: None };
    judge(&wanted, &seen).verdict
}

#[test]
fn a_colour_and_what_is_behind_it() {
    let green = [("status", json!("green")), ("unassigned_shards", json!(0))];
    assert_eq!(
        verdict(State::Yellow, &[]).unwrap(),
        "testcluster is yellow, 1 node, 5 shards, 5 unassigned, version 5.6.16"
    );
    assert_eq!(
        verdict(State::Green, &[]).unwrap_err(),
        "it is yellow, want green: 5 of 10 shards are unassigned"
    );
    assert!(verdict(State::Green, &green).is_ok());
    assert!(
        verdict(State::Yellow, &[("status", json!("red"))])
            .unwrap_err()
            .starts_with("it is red, want yellow")
    );
    let moving = [&green[..], &[("relocating_shards", json!(2))]].concat();
    assert!(verdict(State::Green, &moving).unwrap().contains("2 being moved"));
    assert_eq!(verdict(State::Settled, &moving).unwrap_err(), "2 shards are being moved");
    // OpenSearch 2 has both names of the field, 1 the first alone, and Elasticsearch neither.
    let lost =
        [&green[..], &[("discovered_master", json!(false)), ("discovered_cluster_manager", json!(false))]]
            .concat();
    assert_eq!(verdict(State::Green, &lost).unwrap_err(), "it has no elected master");
    assert!(serde_json::from_value::<Health>(json!({"status": "green"})).is_err());
}

#[test]
fn red_indexes_are_named_before_yellow_ones() {
    let answer = json!({"indices": {
        "a": {"status": "yellow"}, "b": {"status": "green"}, "c": {"status": "red"},
        "d": {"status": "yellow"}, "e": {"status": "yellow"}, "f": {"status": "yellow"}, "g": {"status": "yellow"},
    }});
    let seen = Seen { health: health(&[]), nodes: Vec::new(), lacking: lacking(&answer), explained: None };
    let wanted = Wanted { state: State::Green, cluster: None, nodes: None, names: Vec::new() };
    let said = judge(&wanted, &seen).verdict.unwrap_err();
    assert!(said.ends_with("(c red, a yellow, d yellow, e yellow, f yellow, and 1 more)"), "{said}");
}

/// The examples of <https://www.elastic.co/guide/en/elasticsearch/reference/8.17/cluster-allocation-explain.html>, shortened.
#[test]
fn the_clusters_own_reason_is_given() {
    let filter = json!({
        "index": "my-index-000001", "shard": 0, "primary": true, "current_state": "unassigned",
        "unassigned_info": {"reason": "INDEX_CREATED", "at": "2017-01-04T18:08:16.600Z", "last_allocation_status": "no"},
        "can_allocate": "no",
        "allocate_explanation": "Elasticsearch isn't allowed to allocate this shard to any of the nodes in the cluster. Choose a node to which you expect this shard to be allocated.",
        "node_allocation_decisions": [{
            "node_name": "node-0", "node_decision": "no", "deciders": [{
                "decider": "filter", "decision": "NO",
                "explanation": "node does not match index setting [index.routing.allocation.include] filters [_name:\"nonexistent_node\"]",
            }],
        }],
    });
    assert_eq!(
        explain(&filter).unwrap(),
        "the primary of shard 0 of my-index-000001 is unassigned (INDEX_CREATED): node does not match index setting \
         [index.routing.allocation.include] filters [_name:\"nonexistent_node\"] (filter, 1 node)"
    );
    let lost = json!({
        "index": "award", "shard": 0, "primary": true, "unassigned_info": {"reason": "NODE_LEFT"},
        "can_allocate": "no_valid_shard_copy",
        "allocate_explanation": "Elasticsearch can't allocate this shard because there are no copies of its data in the cluster.",
    });
    assert!(explain(&lost).unwrap().ends_with("there are no copies of its data in the cluster."));
    let same = json!({
        "decider": "same_shard", "decision": "NO",
        "explanation": "a copy of this shard is already allocated to this node [[award][0], node[3sULLVJrRneSg0EfBB-2Ew], [P], s[STARTED]]",
    });
    let disk = json!({
        "decider": "disk_threshold", "decision": "NO", "explanation": "the node is above the low watermark cluster setting",
    });
    let mut delayed = json!({
        "index": "award", "shard": 0, "primary": false, "unassigned_info": {"reason": "NODE_LEFT"},
        "can_allocate": "allocation_delayed", "remaining_delay": "59.8s",
        "allocate_explanation": "The node containing this shard copy recently left the cluster.",
        "node_allocation_decisions": [
            {"node_name": "a", "deciders": [same.clone()]},
            {"node_name": "b", "deciders": [disk.clone(), {"decider": "x", "decision": "YES", "explanation": "fine"}]},
            {"node_name": "c", "deciders": [disk]},
        ],
    });
    assert_eq!(
        explain(&delayed).unwrap(),
        "the replica of shard 0 of award is unassigned (NODE_LEFT): it waits for another 59.8s for the node that had it to come back"
    );
    delayed["can_allocate"] = json!("no");
    assert_eq!(
        explain(&delayed).unwrap(),
        "the replica of shard 0 of award is unassigned (NODE_LEFT): the node is above the low watermark cluster setting \
         (disk_threshold, 2 nodes); a copy of this shard is already allocated to this node (same_shard, 1 node)"
    );
    // <https://www.elastic.co/guide/en/elasticsearch/reference/5.1/cluster-allocation-explain.html>
    let old = json!({
        "shard": {"index": "myindex", "index_uuid": "KnW0-zELRs6PK84l0r38ZA", "id": 0, "primary": false},
        "assigned": false, "unassigned_info": {"reason": "INDEX_CREATED", "at": "2016-03-22T20:04:23.620Z"},
        "nodes": {"V-Spi0AyRZ6ZvKbaI3691w": {"node_name": "H5dfFeA", "final_decision": "NO", "decisions": [
            {"decider": "filter", "decision": "NO", "explanation": "node does not match index include filters [foo:\"bar\"]"},
        ]}},
    });
    assert_eq!(
        explain(&old).unwrap(),
        "the replica of shard 0 of myindex is unassigned (INDEX_CREATED): node does not match index include filters [foo:\"bar\"] (filter, 1 node)"
    );
    assert_eq!(explain(&json!({"error": "x"})), None);
}
