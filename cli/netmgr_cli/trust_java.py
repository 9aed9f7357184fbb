"""Owns: what Java is asked with: a class, since a runtime without a compiler takes no source.

For Java 8 or later, made by `javac --release 8 -g:none` of

    public class Probe {
      public static void main(String[] words) throws Exception {
        java.net.Socket made =
            javax.net.ssl.SSLSocketFactory.getDefault().createSocket("inference.local", 443);
        ((javax.net.ssl.SSLSocket) made).startHandshake();
        System.out.println("netmgr-trusted");
      }
    }

whose host and word are those of netmgr_cli.trust_programs.
"""

import base64
from typing import Final

JAVA_PROBE: Final = base64.b64decode(
    "yv66vgAAADQAMAoAAgADBwAEDAAFAAYBABBqYXZhL2xhbmcvT2JqZWN0AQAGPGluaXQ+AQADKClWCgAIAAkHAAoMAA"
    "sADAEAHmphdmF4L25ldC9zc2wvU1NMU29ja2V0RmFjdG9yeQEACmdldERlZmF1bHQBABsoKUxqYXZheC9uZXQvU29j"
    "a2V0RmFjdG9yeTsIAA4BAA9pbmZlcmVuY2UubG9jYWwKABAAEQcAEgwAEwAUAQAXamF2YXgvbmV0L1NvY2tldEZhY3"
    "RvcnkBAAxjcmVhdGVTb2NrZXQBACYoTGphdmEvbGFuZy9TdHJpbmc7SSlMamF2YS9uZXQvU29ja2V0OwcAFgEAF2ph"
    "dmF4L25ldC9zc2wvU1NMU29ja2V0CgAVABgMABkABgEADnN0YXJ0SGFuZHNoYWtlCQAbABwHAB0MAB4AHwEAEGphdm"
    "EvbGFuZy9TeXN0ZW0BAANvdXQBABVMamF2YS9pby9QcmludFN0cmVhbTsIACEBAA5uZXRtZ3ItdHJ1c3RlZAoAIwAk"
    "BwAlDAAmACcBABNqYXZhL2lvL1ByaW50U3RyZWFtAQAHcHJpbnRsbgEAFShMamF2YS9sYW5nL1N0cmluZzspVgcAKQ"
    "EABVByb2JlAQAEQ29kZQEABG1haW4BABYoW0xqYXZhL2xhbmcvU3RyaW5nOylWAQAKRXhjZXB0aW9ucwcALwEAE2ph"
    "dmEvbGFuZy9FeGNlcHRpb24AIQAoAAIAAAAAAAIAAQAFAAYAAQAqAAAAEQABAAEAAAAFKrcAAbEAAAAAAAkAKwAsAA"
    "IAKgAAACgAAwACAAAAHLgABxINEQG7tgAPTCvAABW2ABeyABoSILYAIrEAAAAAAC0AAAAEAAEALgAA"
)
