//! The help and version texts.

use super::table::{HELP, OPTIONS};

/// `-V`.
pub const VERSION: &str = "\
net-tools 2.10
Fred Baumgarten, Alan Cox, Bernd Eckenfels, Phil Blundell, Tuan Hoang, Brian Micek and others
+NEW_ADDRT +RTF_IRTT +RTF_REJECT +FW_MASQUERADE +I18N +SELINUX
AF: (inet) +UNIX +INET +INET6 +IPX +AX25 +NETROM +X25 +ATALK +ECONET +ROSE -BLUETOOTH
HW:  +ETHER +ARC +SLIP +PPP +TUNNEL -TR +AX25 +NETROM +X25 +FR +ROSE +ASH +SIT +FDDI +HIPPI \
+HDLC/LAPB +EUI64 
";

const SYNOPSIS: &str = "\
usage: netstat [-vWeenNcCF] [<Af>] -r         netstat {-V|--version|-h|--help}
       netstat [-vWnNcaeol] [<Socket> ...]
       netstat { [-vWeenNac] -i | [-cnNe] -M | -s [-6tuw] }
";

const SELECTORS: &str = "
  <Socket>={-t|--tcp} {-u|--udp} {-U|--udplite} {-S|--sctp} {-w|--raw}
           {-x|--unix} --ax25 --ipx --netrom
  <AF>=Use '-6|-4' or '-A <af>' or '--<af>'; default: inet
  List of possible address families (which support routing):
";

/// The last lines of the usage text: always on stderr.
pub const FAMILIES: &str = "    inet (DARPA Internet) inet6 (IPv6) ax25 (AMPR AX.25) \n    \
    netrom (AMPR NET/ROM) rose (AMPR ROSE) ipx (Novell IPX) \n    \
    ddp (Appletalk DDP) x25 (CCITT X.25) \n";

/// The usage text up to the list of families.
#[must_use]
pub fn usage() -> String {
    let mut text = SYNOPSIS.to_owned();
    for group in HELP {
        text.push('\n');
        for name in *group {
            let Some(option) = OPTIONS
                .iter()
                .find(|option| option.long == Some(name) && option.in_help)
            else {
                continue;
            };
            let forms = match option.short {
                Some(short) => format!("-{}, --{name}", char::from(short)),
                None => format!("--{name}"),
            };
            text.push_str(&format!("        {forms:<24} {}\n", option.about));
        }
    }
    text.push_str(SELECTORS);
    text
}
