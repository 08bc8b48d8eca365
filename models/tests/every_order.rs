//! Runs the models.

use wharf_models::models;

#[test]
fn an_idle_value_is_neither_lost_nor_given_to_two() {
    models::an_idle_value_is_neither_lost_nor_given_to_two();
}

#[test]
fn each_of_two_tasks_gets_the_only_slot() {
    models::each_task_of_a_channel_gets_a_slot(2, 1);
}

#[test]
fn each_of_three_tasks_gets_one_of_two_slots_of_which_one_is_borrowed() {
    models::each_task_of_a_channel_gets_a_slot(3, 2);
}

#[test]
fn a_shared_slot_goes_to_each_channel_that_waits_for_it() {
    models::a_shared_slot_goes_to_each_channel_that_waits_for_it();
}

#[test]
fn the_clock_does_not_stand_still_while_one_guest_runs() {
    models::the_clock_does_not_stand_still_while_a_guest_runs(1);
}

#[test]
fn the_clock_does_not_stand_still_while_two_guests_run() {
    models::the_clock_does_not_stand_still_while_a_guest_runs(2);
}
