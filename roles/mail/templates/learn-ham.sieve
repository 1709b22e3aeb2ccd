# Written by Relève; changes are lost. Whoever throws spam away does not say that it is none.
require ["copy", "environment", "imapsieve", "vnd.dovecot.pipe"];
if not environment :is "imap.mailbox" "Trash" {
    pipe :copy "learn" ["ham"];
}
