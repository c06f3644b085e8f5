//! A request's part of its trace: one span for what we do for the caller, and below it one for each
//! thing that it waits for.
//!
//! Ids are made and passed on also where nothing is kept, because the trace may be kept elsewhere.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::HeaderMap;

use super::{
    Attribute, Context, Desk, Event, Kind, Outcome, Parent, Sampled, Span, SpanId, TRACEPARENT,
    TRACESTATE, TraceId, Tracer, context,
};
use crate::clock::Moment;

/// A request's part of its trace; all its spans have ended when it is dropped.
#[derive(Debug)]
pub struct Request {
    desk: Arc<Desk>,
    context: Context,
    parent: Parent,
    begun: Moment,
    /// Whether `tracestate` goes on.
    state: State,
    kept: Option<Box<Kept>>,
}

/// What becomes of the caller's `tracestate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    GoesOn,
    /// It is malformed, or of a trace that is not continued.
    EndsHere,
}

/// The spans of a request whose trace is kept.
#[derive(Debug, Default)]
struct Kept {
    state: Option<Box<str>>,
    under_way: Option<Span>,
    ended: Vec<Span>,
    /// What is known of the whole request already.
    notes: Vec<Attribute>,
}

/// What a request tells of itself when it has ended.
#[derive(Debug)]
pub struct Ended {
    pub name: Cow<'static, str>,
    pub attributes: Vec<Attribute>,
    pub outcome: Outcome,
    pub after: Duration,
}

/// A wait that has begun.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    context: Context,
    begun: Moment,
}

impl Wait {
    /// Who waits.
    pub fn context(self) -> Context {
        self.context
    }
}

impl Tracer {
    /// The part that begins now of the trace that `headers` name, or of a new one; nothing where
    /// traces are off.
    pub fn request(&self, headers: &HeaderMap, begun: Moment) -> Option<Box<Request>> {
        let desk = self.0.as_ref()?;
        Some(Box::new(Request::begin(desk, headers, begun)))
    }
}

impl Request {
    #[cold]
    fn begin(desk: &Arc<Desk>, headers: &HeaderMap, begun: Moment) -> Self {
        let caller = Context::read(headers);
        let (fresh, span) = desk.ids();
        let trace = caller.map_or(fresh, |caller| caller.trace);
        let sampled = desk.sampling.decide(caller, trace);
        let context = match caller {
            Some(caller) => caller.with(span, sampled),
            None => Context::root(trace, span, sampled),
        };
        let state = if caller.is_some() && context::state_is_well_formed(headers) {
            State::GoesOn
        } else {
            State::EndsHere
        };
        let kept = (sampled == Sampled::Yes).then(|| {
            let goes_on = state == State::GoesOn && headers.contains_key(TRACESTATE);
            Box::new(Kept {
                state: goes_on.then(|| context::state(headers).into()),
                ..Kept::default()
            })
        });
        Self {
            desk: Arc::clone(desk),
            context,
            parent: caller.map_or(Parent::None, |caller| Parent::Remote(caller.span)),
            begun,
            state,
            kept,
        }
    }

    /// Which trace it belongs to.
    pub fn trace(&self) -> TraceId {
        self.context.trace
    }

    /// Whether its spans are kept.
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Of the whole request.
    pub fn note(&mut self, notes: Vec<Attribute>) {
        if let Some(kept) = &mut self.kept {
            kept.notes.extend(notes);
        }
    }

    /// Something that it waited for, from the request's beginning until now.
    pub fn since_the_beginning(
        &mut self,
        name: &'static str,
        attributes: Vec<Attribute>,
        outcome: Outcome,
    ) {
        let begun = self.begun;
        if self.is_kept() {
            let span = self.desk.span();
            self.child(span, name, begun, attributes, outcome);
        }
    }

    /// It waits for something, if anybody wants to know.
    pub fn waits(&self) -> Option<Wait> {
        self.kept.as_ref()?;
        Some(Wait {
            context: self.context.with(self.desk.span(), Sampled::Yes),
            begun: self.desk.clock.now(),
        })
    }

    /// The wait is over.
    pub fn waited(
        &mut self,
        wait: Wait,
        name: &'static str,
        attributes: Vec<Attribute>,
        outcome: Outcome,
    ) {
        self.child(wait.context.span, name, wait.begun, attributes, outcome);
    }

    fn child(
        &mut self,
        span: SpanId,
        name: &'static str,
        begun: Moment,
        attributes: Vec<Attribute>,
        outcome: Outcome,
    ) {
        let ended = self.desk.since(begun);
        let mut child = self.span(span, Cow::Borrowed(name), Kind::Internal, begun.wall);
        child.ended = ended;
        child.attributes = attributes;
        child.outcome = outcome;
        if let Some(kept) = &mut self.kept {
            kept.ended.push(child);
        }
    }

    /// It goes to an upstream, which reads what is put into `headers` as its parent.
    pub fn goes_out(
        &mut self,
        headers: &mut HeaderMap,
        name: impl FnOnce() -> (Cow<'static, str>, Vec<Attribute>),
    ) {
        let span = self.desk.span();
        let context = self.context.with(span, self.context.sampled);
        headers.insert(TRACEPARENT, context.header());
        if self.state == State::EndsHere {
            headers.remove(TRACESTATE);
        }
        if self.kept.is_none() {
            return;
        }
        let now = self.desk.clock.now();
        let (name, attributes) = name();
        let mut call = self.span(span, name, Kind::Client, now.wall);
        call.attributes = attributes;
        self.call_ends(Outcome::Unset);
        if let Some(kept) = &mut self.kept {
            kept.under_way = Some(call);
        }
    }

    /// The header of an upstream's answer has come; the call goes on until its body has.
    pub fn is_answered(&mut self, status: u16) {
        let now = self.desk.clock.now().wall;
        let Some(call) = self.kept.as_mut().and_then(|kept| kept.under_way.as_mut()) else {
            return;
        };
        call.attributes
            .push(("http.response.status_code", status.into()));
        call.events.push(Event {
            at: now,
            name: "answer begins",
        });
        if status >= 400 {
            call.attributes
                .push(("error.type", status.to_string().into()));
            call.outcome = Outcome::Failed(Cow::Borrowed(""));
        }
    }

    /// The call to an upstream is over, if one is under way.
    pub fn call_ends(&mut self, outcome: Outcome) {
        let now = self.desk.clock.now().wall;
        if let Some(kept) = &mut self.kept
            && let Some(mut call) = kept.under_way.take()
        {
            call.ended = now.max(call.begun);
            if outcome != Outcome::Unset {
                call.outcome = outcome;
            }
            kept.ended.push(call);
        }
    }

    /// The request is over.
    pub fn end(mut self, ended: impl FnOnce() -> Ended) {
        self.call_ends(Outcome::Unset);
        let Some(kept) = self.kept.take() else {
            return;
        };
        let Ended {
            name,
            attributes,
            outcome,
            after,
        } = ended();
        let mut whole = self.span(self.context.span, name, Kind::Server, self.begun.wall);
        whole.parent = self.parent;
        whole.ended = self.begun.wall.saturating_add(after);
        whole.attributes = kept.notes;
        whole.attributes.extend(attributes);
        whole.outcome = outcome;
        let mut all = kept.ended;
        all.push(whole);
        for span in &mut all {
            span.state.clone_from(&kept.state);
        }
        self.desk.keep(all);
    }

    fn span(&self, span: SpanId, name: Cow<'static, str>, kind: Kind, begun: Duration) -> Span {
        Span {
            context: self.context.with(span, self.context.sampled),
            parent: Parent::Here(self.context.span),
            state: None,
            name,
            kind,
            begun,
            ended: begun,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            links_left_out: 0,
            outcome: Outcome::Unset,
        }
    }
}
