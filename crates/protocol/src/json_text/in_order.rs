//! The members of a frame, taken in the order in which they are asked for.

use super::FRAME_DEPTH;
use super::scan::Scan;
use crate::limits::JSON_DEPTH;

/// Goes through a frame while its members are asked for, each once. Most frames have theirs in the
/// order of the specification, in which they are asked for: these are gone through once, and
/// nothing is kept of them. Whatever is taken is right when at the end [`InOrder::is_done`]; if
/// not, something is wrong, or stands in another order, or is not known, and nothing that was taken
/// is to be used.
pub(crate) struct InOrder<'a> {
    /// At the next member's name, or at the end of the object.
    scan: Scan<'a>,
}

/// A place where nothing is.
const NOWHERE: usize = usize::MAX;

impl<'a> InOrder<'a> {
    /// `None`: it does not begin like an object.
    pub(crate) fn open(text: &'a str) -> Option<InOrder<'a>> {
        let mut scan = Scan { text, at: 0 };
        scan.skip(b'{')?;
        Some(InOrder { scan })
    }

    /// The text of the next member's value, if that has this name.
    #[inline(always)]
    pub(crate) fn take(&mut self, name: &str) -> Option<&'a str> {
        let start = self.behind(name)?;
        self.value(start)
    }

    /// Whether all members were taken, and nothing follows.
    pub(crate) fn is_done(&self) -> bool {
        self.scan.text.as_bytes().get(self.scan.at..) == Some(b"}")
    }

    /// Where the name ends, if it stands here.
    #[inline(always)]
    fn behind(&self, name: &str) -> Option<usize> {
        let rest = self.scan.text.as_bytes().get(self.scan.at..)?;
        let rest = rest.strip_prefix(b"\"")?.strip_prefix(name.as_bytes())?;
        let rest = rest.strip_prefix(b"\"")?;
        Some(self.scan.text.len() - rest.len())
    }

    /// The value behind a name. Where there is none, there is nothing any more.
    #[inline(never)]
    fn value(&mut self, behind: usize) -> Option<&'a str> {
        let value = self.value_at(behind);
        if value.is_none() {
            self.scan.at = NOWHERE;
        }
        value
    }

    fn value_at(&mut self, behind: usize) -> Option<&'a str> {
        let scan = &mut self.scan;
        scan.at = behind;
        scan.takes(b' ');
        scan.skip(b':')?;
        let start = scan.at;
        // Most are strings.
        if scan.string().is_none() {
            scan.at = start;
            scan.member(JSON_DEPTH + FRAME_DEPTH - 1)?;
        }
        let value = scan.text.get(start..scan.at)?;
        scan.takes(b' ');
        if scan.byte()? != b'}' {
            scan.skip(b',')?;
            // Behind a comma there is a member.
            (scan.byte()? == b'"').then_some(())?;
        }
        Some(value)
    }
}
