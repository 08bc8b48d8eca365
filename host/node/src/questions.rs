//! Questions for the counts of groups in which this node has no part.
//!
//! All nodes are asked, and each answers, also with 0. So an answer is complete when all that are there have answered.
//! It is good for a second. It is pure: its caller gives it the time in milliseconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wharf_hub::connection_id::NodeId;

use crate::topics::Group;

/// Time for which an answer is good.
const GOOD_FOR: u64 = 1000;

/// Time after which a question is over, although some nodes have not answered.
const PATIENCE: u64 = 500;

/// Questions that may be open, and answers that are kept. Beyond it the count of others is taken for 0.
const MAX: usize = 100_000;

/// The questions of one node.
#[derive(Debug, Default)]
pub struct Questions {
    last: u64,
    open: BTreeMap<u64, Question>,
    by_group: HashMap<Group, u64>,
    answers: HashMap<Group, Answer>,
    /// Time at which old answers are dropped again.
    next_tidying: u64,
}

#[derive(Debug)]
struct Question {
    group: Group,
    missing: BTreeSet<NodeId>,
    sum: u64,
    ends_at: u64,
}

#[derive(Debug)]
struct Answer {
    count: u64,
    /// True if all nodes have answered that were asked.
    is_complete: bool,
    until: u64,
}

/// The state of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The count is known.
    Known,
    /// The question is open.
    Open,
    /// The question is open from now on, with this number: all nodes are to be asked.
    New(u64),
}

impl Questions {
    /// Returns the count of a group, if an answer is good.
    pub fn count(&self, group: &Group, now: u64) -> Option<u64> {
        self.answers.get(group).filter(|answer| now < answer.until).map(|answer| answer.count)
    }

    /// Returns the count of a group, if an answer is good in which no node is missing.
    pub fn complete_count(&self, group: &Group, now: u64) -> Option<u64> {
        let is_good = |answer: &&Answer| answer.is_complete && now < answer.until;
        self.answers.get(group).filter(is_good).map(|answer| answer.count)
    }

    /// Asks for a group. `nodes` are those that will answer.
    pub fn ask(&mut self, group: &Group, nodes: BTreeSet<NodeId>, now: u64) -> Asked {
        if self.count(group, now).is_some() || nodes.is_empty() {
            return Asked::Known;
        }
        if self.by_group.contains_key(group) {
            return Asked::Open;
        }
        if self.open.len() >= MAX {
            return Asked::Known;
        }
        self.last += 1;
        let question =
            Question { group: group.clone(), missing: nodes, sum: 0, ends_at: now + PATIENCE };
        self.open.insert(self.last, question);
        self.by_group.insert(group.clone(), self.last);
        Asked::New(self.last)
    }

    /// Notes the answer of a node. Returns the group, if the question is over.
    pub fn answered(&mut self, from: NodeId, number: u64, count: u64, now: u64) -> Option<Group> {
        let question = self.open.get_mut(&number)?;
        if question.missing.remove(&from) {
            question.sum = question.sum.saturating_add(count);
        }
        question.missing.is_empty().then(|| self.end(number, now)).flatten()
    }

    /// Notes that a node is gone. Returns the groups whose questions are over.
    pub fn gone(&mut self, node: NodeId, now: u64) -> Vec<Group> {
        let waiting = self.open.iter_mut().filter_map(|(number, question)| {
            (question.missing.remove(&node) && question.missing.is_empty()).then_some(*number)
        });
        let over: Vec<u64> = waiting.collect();
        over.into_iter().filter_map(|number| self.end(number, now)).collect()
    }

    /// Ends the questions that have waited for long enough, and drops old answers. Returns the groups.
    pub fn look(&mut self, now: u64) -> Vec<Group> {
        let is_late = |question: &Question| now >= question.ends_at;
        let late = self.open.iter().take_while(|(_, question)| is_late(question));
        let late: Vec<u64> = late.map(|(number, _)| *number).collect();
        let groups = late.into_iter().filter_map(|number| self.end(number, now)).collect();
        if now >= self.next_tidying {
            self.next_tidying = now + GOOD_FOR;
            self.answers.retain(|_, answer| now < answer.until);
        }
        groups
    }

    /// Returns the time of the next [`look`](Questions::look), if there is anything to look for.
    pub fn next_look(&self) -> Option<u64> {
        self.open.values().next().map(|question| question.ends_at)
    }

    fn end(&mut self, number: u64, now: u64) -> Option<Group> {
        let question = self.open.remove(&number)?;
        self.by_group.remove(&question.group);
        if self.answers.len() >= MAX {
            self.answers.retain(|_, answer| now < answer.until);
        }
        if self.answers.len() < MAX {
            let is_complete = question.missing.is_empty();
            let answer = Answer { count: question.sum, is_complete, until: now + GOOD_FOR };
            self.answers.insert(question.group.clone(), answer);
        }
        Some(question.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> BTreeSet<NodeId> {
        [2, 3].into_iter().filter_map(NodeId::numbered).collect()
    }

    fn user() -> Group {
        Group::user(&"chat".into(), &"ann".into())
    }

    #[test]
    fn an_answer_is_complete_when_all_that_are_there_have_answered() {
        let (mut questions, nodes) = (Questions::default(), nodes());
        let [two, three] = nodes.iter().copied().collect::<Vec<_>>()[..] else { panic!("two") };
        assert_eq!(questions.ask(&user(), nodes.clone(), 0), Asked::New(1));
        assert_eq!(questions.ask(&user(), nodes.clone(), 0), Asked::Open);
        assert_eq!(questions.answered(two, 1, 2, 1), None);
        assert_eq!(questions.answered(two, 1, 2, 1), None, "it counts once");
        assert_eq!(questions.count(&user(), 1), None);
        assert_eq!(questions.answered(three, 1, 5, 2), Some(user()));
        assert_eq!(questions.count(&user(), 1001), Some(7));
        assert_eq!(questions.complete_count(&user(), 1001), Some(7));
        assert_eq!(questions.complete_count(&user(), 1002), None);
        assert_eq!(questions.ask(&user(), nodes.clone(), 1001), Asked::Known);
        assert_eq!(questions.count(&user(), 1002), None, "it is a second old");
        assert_eq!(questions.ask(&user(), nodes, 1002), Asked::New(2));
    }

    #[test]
    fn a_node_that_is_gone_or_silent_holds_no_question_up() {
        let (mut questions, nodes) = (Questions::default(), nodes());
        let [two, three] = nodes.iter().copied().collect::<Vec<_>>()[..] else { panic!("two") };
        questions.ask(&user(), nodes.clone(), 0);
        questions.answered(two, 1, 2, 1);
        assert_eq!(questions.gone(three, 1), [user()]);
        assert_eq!(questions.count(&user(), 1), Some(2));
        questions.ask(&user(), nodes, 2000);
        assert_eq!(questions.next_look(), Some(2000 + PATIENCE));
        assert_eq!(questions.look(2000 + PATIENCE - 1), []);
        assert_eq!(questions.look(2000 + PATIENCE), [user()]);
        assert_eq!(questions.count(&user(), 2500), Some(0));
        assert_eq!(questions.complete_count(&user(), 2500), None, "nobody has answered");
    }
}
