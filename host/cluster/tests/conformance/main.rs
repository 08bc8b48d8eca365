//! The promises of the four interfaces, tested for each engine. A test is a property for an engine: `redis::keys::…`.
//!
//! Engines with a server are tested against a real one, which each test starts for itself on a free port of the loopback
//! address, from the programs that the variables `WHARF_REDIS_SERVER`, `WHARF_VALKEY_SERVER` and `WHARF_NATS_SERVER` name. These tests are
//! ignored by default; `cargo xtask test` finds or installs the programs, and runs them.

mod disk_only;
mod faults;
mod keys;
mod leases;
mod logs;
mod memory_only;
mod model;
mod nats_only;
mod old_servers;
mod redis_only;
mod replicas;
mod support;
mod tls;
mod topics;

/// Makes the tests of an engine. `several` are the properties that need more than one node.
macro_rules! properties {
    ($make:ident $engine:ident one) => {
        $make! { $engine
            topics { own_messages_are_received_in_order messages_of_other_topics_are_not_received
                an_unsubscribed_topic_is_silent any_name_is_a_topic a_slow_receiver_is_told
                an_invalid_name_is_refused many_topics_are_subscribed_to_at_once
                a_closed_engine_refuses_everything a_message_of_any_bytes_arrives
                one_publishers_messages_keep_their_order_over_all_topics }
            keys { a_record_is_read_as_it_was_written versions_differ_after_each_change
                an_expectation_that_does_not_hold_changes_nothing a_record_expires_by_the_clock_of_the_engine
                an_absent_record_can_be_put_once_it_has_expired increments_add_up numbers_have_bounds
                an_increment_keeps_the_time_to_live a_list_is_sorted_and_comes_in_pages any_key_and_value_is_kept
                a_put_without_a_time_to_live_stays a_new_owner_shuts_the_old_one_out }
            logs { offsets_begin_at_one_without_a_hole a_log_that_does_not_exist_is_empty
                a_log_keeps_the_newest_messages a_log_keeps_the_newest_bytes a_log_keeps_young_entries
                entries_are_received_with_their_positions reads_are_bounded a_removed_log_has_another_epoch
                an_idle_log_has_another_epoch logs_do_not_meet }
            leases { one_holder_at_a_time fences_grow a_lost_lease_cannot_be_renewed
                a_released_lease_is_free_at_once an_old_fence_releases_nothing }
            model { keys_behave_as_the_model logs_behave_as_the_model }
        }
    };
    ($make:ident $engine:ident several) => {
        $make! { $engine
            topics { all_nodes_receive_one_publishers_order a_node_receives_what_it_subscribes_to_only
                each_publishers_order_holds_for_those_who_receive_a_part }
            keys { sixteen_tasks_on_two_nodes_add_up a_race_has_one_winner }
            logs { eight_publishers_on_two_nodes_make_one_order nodes_read_each_others_entries }
            leases { holders_never_overlap a_sleeping_holder_loses_its_lease }
        }
    };
    ($make:ident $engine:ident faults) => {
        $make! { $engine
            faults { a_killed_server_is_an_interruption_that_ends a_stopped_server_is_an_interruption_that_ends
                publishes_wait_for_the_link_up_to_the_bound old_publishes_are_dropped
                steps_are_refused_while_the_link_is_down two_prefixes_do_not_meet
                a_server_that_is_not_there_is_named a_wrong_password_is_named_and_not_shown
                what_is_written_survives_a_restart_of_the_server a_flood_is_received_or_told }
        }
    };
}

/// Makes tests that always run.
macro_rules! always {
    ($engine:ident $($file:ident { $($property:ident)* })*) => {
        $(mod $file {
            $(#[test]
            fn $property() {
                crate::support::run(crate::support::Kind::$engine, crate::$file::$property);
            })*
        })*
    };
}

/// Makes tests that need the program of a server.
macro_rules! with_server {
    ($engine:ident $($file:ident { $($property:ident)* })*) => {
        $(mod $file {
            $(#[test]
            #[ignore = "needs a server, which `cargo xtask test` finds or installs"]
            fn $property() {
                crate::support::run(crate::support::Kind::$engine, crate::$file::$property);
            })*
        })*
    };
}

mod memory {
    properties! { always Memory one }
    mod several {
        properties! { always Memory several }
    }
}

mod disk {
    properties! { always Disk one }
}

mod redis {
    properties! { with_server Redis one }
    mod several {
        properties! { with_server Redis several }
    }
    mod with_faults {
        properties! { with_server Redis faults }
    }
}

mod valkey {
    properties! { with_server Valkey one }
    mod several {
        properties! { with_server Valkey several }
    }
}

mod redis_cluster {
    properties! { with_server RedisCluster one }
    mod several {
        properties! { with_server RedisCluster several }
    }
}

mod nats {
    properties! { with_server Nats one }
    mod several {
        properties! { with_server Nats several }
    }
    mod with_faults {
        properties! { with_server Nats faults }
    }
}
