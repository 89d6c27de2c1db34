"""Bytes that servers of three versions sent to their own clients."""

from __future__ import annotations

from typing import NamedTuple

from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.protocol.dialect import Dialect


class Server(NamedTuple):
    """What one server version sent in one encoding."""

    version: str
    encoding: Encoding
    dialect: Dialect
    init: bytes
    init_ids: tuple[str, str]
    event: bytes
    event_args: list[int]
    error: bytes
    error_actor: tuple[str, int, str] | None
    response: bytes
    response_output: int
    values: bytes | None
    nothing: bytes
    action_output: bytes
    error_body: bytes
    duplicate: bytes
    queue: bytes | None
    queue_with_response: bytes | None


SERVERS = [
    Server(
        version="2.0.33",
        encoding="bare",
        dialect=Dialect.PLAIN,
        init=b"\x02\x00\x00\x10f0ca35bb1be8671c$82f5c4a0-b286-49cd-ac9f-01ae3c84daaa",
        init_ids=("f0ca35bb1be8671c", "82f5c4a0-b286-49cd-ac9f-01ae3c84daaa"),
        event=b"\x02\x00\x03\x08newCount\x02\x81\x06",
        event_args=[6],
        error=(
            b"\x02\x00\x01\x04user\x12username_too_short\ttoo short\x01\x08\xb9\x00\x01cmin\x03"
            b"\x01\x01"
        ),
        error_actor=None,
        response=b"\x02\x00\x02\x00\x01\x06",
        response_output=6,
        values=(
            b"\x02\x00\x02\x02V\x90\x01 \xfb?\xf8\x00\x00\x00\x00\x00\x00ax\xf6\xf7\xf5\x82\x01"
            b"b$a\x82b$x\x01\xb9\x00\x01aa\xb9\x00\x01ab\x80\xfbC@\x00\x00\x00\x00\x00\x00\xfbB"
            b"p\x00\x00\x00\x00\x00\x00\xfb\xc2p\x00\x00\x00\x00\x00\x00\x1b\xabT\xa9\x8c\xeb"
            b"\x1f\n\xd2\xd8@C\x01\x02\x03\xc1\x1a\x00\x01Q\x80"
        ),
        nothing=b"\x02\x00\x02\x03\x01\xf7",
        action_output=b"\x02\x00\x01\x04",
        error_body=b"\x02\x00\x04user\x12username_too_short\ttoo short\x01\x08\xb9\x00\x01cmin\x03",
        duplicate=(
            b'{"group":"actor","code":"duplicate_key","message":"Actor already exists with name'
            b" 'counter' and key '[\\\"k-bare\\\"]' (https://www.rivet.dev/docs/actors/client"
            b's/#actor-client)"}'
        ),
        queue=None,
        queue_with_response=None,
    ),
    Server(
        version="2.0.33",
        encoding="cbor",
        dialect=Dialect.PLAIN,
        init=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctagdInitcval\xb9\x00\x02gactorIdpe57aa98179c35f17lc"
            b"onnectionIdx$4a978cb5-95d3-488d-b10c-331fcf5b6054"
        ),
        init_ids=("e57aa98179c35f17", "4a978cb5-95d3-488d-b10c-331fcf5b6054"),
        event=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctageEventcval\xb9\x00\x02dnamehnewCountdargs\x81\x06"
        ),
        event_args=[6],
        error=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctageErrorcval\xb9\x00\x05egroupduserdcoderusername_"
            b"too_shortgmessageitoo shorthmetadata\xb9\x00\x01cmin\x03hactionId\x1b\x00\x00\x00"
            b"\x00\x00\x00\x00\x01"
        ),
        error_actor=None,
        response=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctagnActionResponsecval\xb9\x00\x02bid\x1b\x00\x00"
            b"\x00\x00\x00\x00\x00\x00foutput\x06"
        ),
        response_output=6,
        values=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctagnActionResponsecval\xb9\x00\x02bid\x1b\x00\x00"
            b"\x00\x00\x00\x00\x00\x02foutput\x90\x01 \xfb?\xf8\x00\x00\x00\x00\x00\x00ax\xf6"
            b"\xf7\xf5\x82\x01b$a\x82b$x\x01\xb9\x00\x01aa\xb9\x00\x01ab\x80\xfbC@\x00\x00\x00"
            b"\x00\x00\x00\xfbBp\x00\x00\x00\x00\x00\x00\xfb\xc2p\x00\x00\x00\x00\x00\x00\x1b"
            b"\xabT\xa9\x8c\xeb\x1f\n\xd2\xd8@C\x01\x02\x03\xc1\x1a\x00\x01Q\x80"
        ),
        nothing=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctagnActionResponsecval\xb9\x00\x02bid\x1b\x00\x00"
            b"\x00\x00\x00\x00\x00\x03foutput\xf7"
        ),
        action_output=b"\xb9\x00\x01foutput\x04",
        error_body=(
            b"\xb9\x00\x04egroupduserdcoderusername_too_shortgmessageitoo shorthmetadata\xb9"
            b"\x00\x01cmin\x03"
        ),
        duplicate=(
            b'{"group":"actor","code":"duplicate_key","message":"Actor already exists with name'
            b" 'counter' and key '[\\\"k-cbor\\\"]' (https://www.rivet.dev/docs/actors/client"
            b's/#actor-client)"}'
        ),
        queue=None,
        queue_with_response=None,
    ),
    Server(
        version="2.0.33",
        encoding="json",
        dialect=Dialect.PLAIN,
        init=(
            b'{"body":{"tag":"Init","val":{"actorId":"2979f50507526b6b","connectionId":"3fb7080'
            b'7-6b94-45d7-8c04-4e83361f6a8a"}}}'
        ),
        init_ids=("2979f50507526b6b", "3fb70807-6b94-45d7-8c04-4e83361f6a8a"),
        event=b'{"body":{"tag":"Event","val":{"name":"newCount","args":[6]}}}',
        event_args=[6],
        error=(
            b'{"body":{"tag":"Error","val":{"group":"user","code":"username_too_short","message'
            b'":"too short","metadata":{"min":3},"actionId":["$BigInt","1"]}}}'
        ),
        error_actor=None,
        response=b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","0"],"output":6}}}',
        response_output=6,
        values=(
            b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","2"],"output":[1,-1,1.5,"x'
            b'",null,null,true,[1,"$a"],["$$x",1],{"a":{"b":[]}},9007199254740992,1099511627776'
            b',-1099511627776,["$BigInt","12345678901234567890"],["$Uint8Array","AQID"],"1970-0'
            b'1-02T00:00:00.000Z"]}}}'
        ),
        nothing=b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","3"]}}}',
        action_output=b'{"output":4}',
        error_body=(
            b'{"group":"user","code":"username_too_short","message":"too short","metadata":{"mi'
            b'n":3}}'
        ),
        duplicate=(
            b'{"group":"actor","code":"duplicate_key","message":"Actor already exists with name'
            b" 'counter' and key '[\\\"k-json\\\"]' (https://www.rivet.dev/docs/actors/client"
            b's/#actor-client)"}'
        ),
        queue=None,
        queue_with_response=None,
    ),
    Server(
        version="2.2.1",
        encoding="bare",
        dialect=Dialect.PLAIN,
        init=b"\x03\x00\x00\x10f0ca35bb1be8671c$3bb862a2-61a8-4fe7-8a8a-e6d01b6af3eb",
        init_ids=("f0ca35bb1be8671c", "3bb862a2-61a8-4fe7-8a8a-e6d01b6af3eb"),
        event=b"\x03\x00\x03\x08newCount\x02\x81\x03",
        event_args=[3],
        error=(
            b"\x03\x00\x01\x04user\x12username_too_short\ttoo short\x01\x08\xb9\x00\x01cmin\x03"
            b"\x01\x01"
        ),
        error_actor=None,
        response=b"\x03\x00\x02\x00\x01\x03",
        response_output=3,
        values=(
            b"\x03\x00\x02\x02V\x90\x01 \xfb?\xf8\x00\x00\x00\x00\x00\x00ax\xf6\xf7\xf5\x82\x01"
            b"b$a\x82b$x\x01\xb9\x00\x01aa\xb9\x00\x01ab\x80\xfbC@\x00\x00\x00\x00\x00\x00\xfbB"
            b"p\x00\x00\x00\x00\x00\x00\xfb\xc2p\x00\x00\x00\x00\x00\x00\x1b\xabT\xa9\x8c\xeb"
            b"\x1f\n\xd2\xd8@C\x01\x02\x03\xc1\x1a\x00\x01Q\x80"
        ),
        nothing=b"\x03\x00\x02\x03\x01\xf7",
        action_output=b"\x03\x00\x01\x01",
        error_body=b"\x03\x00\x04user\x12username_too_short\ttoo short\x01\x08\xb9\x00\x01cmin\x03",
        duplicate=(
            b'{"group":"actor","code":"duplicate_key","message":"Actor already exists with name'
            b" 'counter' and key '[\\\"k-bare\\\"]' (https://www.rivet.dev/docs/clients/javas"
            b'cript)"}'
        ),
        queue=b"\x03\x00\tcompleted\x00",
        queue_with_response=b"\x03\x00\tcompleted\x01\x0c\xb9\x00\x01bok\xb9\x00\x01aa\x01",
    ),
    Server(
        version="2.2.1",
        encoding="cbor",
        dialect=Dialect.PLAIN,
        init=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctagdInitcval\xb9\x00\x02gactorIdp2979f50507526b6blc"
            b"onnectionIdx$722369ab-8d63-4090-8eef-885ce309b52e"
        ),
        init_ids=("2979f50507526b6b", "722369ab-8d63-4090-8eef-885ce309b52e"),
        event=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctageEventcval\xb9\x00\x02dnamehnewCountdargs\x81\x03"
        ),
        event_args=[3],
        error=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctageErrorcval\xb9\x00\x05egroupduserdcoderusername_"
            b"too_shortgmessageitoo shorthmetadata\xb9\x00\x01cmin\x03hactionId\x1b\x00\x00\x00"
            b"\x00\x00\x00\x00\x01"
        ),
        error_actor=None,
        response=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctagnActionResponsecval\xb9\x00\x02bid\x1b\x00\x00"
            b"\x00\x00\x00\x00\x00\x00foutput\x03"
        ),
        response_output=3,
        values=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctagnActionResponsecval\xb9\x00\x02bid\x1b\x00\x00"
            b"\x00\x00\x00\x00\x00\x02foutput\x90\x01 \xfb?\xf8\x00\x00\x00\x00\x00\x00ax\xf6"
            b"\xf7\xf5\x82\x01b$a\x82b$x\x01\xb9\x00\x01aa\xb9\x00\x01ab\x80\xfbC@\x00\x00\x00"
            b"\x00\x00\x00\xfbBp\x00\x00\x00\x00\x00\x00\xfb\xc2p\x00\x00\x00\x00\x00\x00\x1b"
            b"\xabT\xa9\x8c\xeb\x1f\n\xd2\xd8@C\x01\x02\x03\xc1\x1a\x00\x01Q\x80"
        ),
        nothing=(
            b"\xb9\x00\x01dbody\xb9\x00\x02ctagnActionResponsecval\xb9\x00\x02bid\x1b\x00\x00"
            b"\x00\x00\x00\x00\x00\x03foutput\xf7"
        ),
        action_output=b"\xb9\x00\x01foutput\x01",
        error_body=(
            b"\xb9\x00\x04egroupduserdcoderusername_too_shortgmessageitoo shorthmetadata\xb9"
            b"\x00\x01cmin\x03"
        ),
        duplicate=(
            b'{"group":"actor","code":"duplicate_key","message":"Actor already exists with name'
            b" 'counter' and key '[\\\"k-cbor\\\"]' (https://www.rivet.dev/docs/clients/javas"
            b'cript)"}'
        ),
        queue=b"\xb9\x00\x02fstatusicompletedhresponse\xf7",
        queue_with_response=b"\xb9\x00\x02fstatusicompletedhresponse\xb9\x00\x01bok\xb9\x00\x01aa\x01",
    ),
    Server(
        version="2.2.1",
        encoding="json",
        dialect=Dialect.PLAIN,
        init=(
            b'{"body":{"tag":"Init","val":{"actorId":"4fe05dbac66ce680","connectionId":"60e10dc'
            b'b-4c29-40e1-95f8-f20d79e7ffc4"}}}'
        ),
        init_ids=("4fe05dbac66ce680", "60e10dcb-4c29-40e1-95f8-f20d79e7ffc4"),
        event=b'{"body":{"tag":"Event","val":{"name":"newCount","args":[3]}}}',
        event_args=[3],
        error=(
            b'{"body":{"tag":"Error","val":{"group":"user","code":"username_too_short","message'
            b'":"too short","metadata":{"min":3},"actionId":["$BigInt","1"]}}}'
        ),
        error_actor=None,
        response=b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","0"],"output":3}}}',
        response_output=3,
        values=(
            b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","2"],"output":[1,-1,1.5,"x'
            b'",null,null,true,[1,"$a"],["$$x",1],{"a":{"b":[]}},9007199254740992,1099511627776'
            b',-1099511627776,["$BigInt","12345678901234567890"],["$Uint8Array","AQID"],"1970-0'
            b'1-02T00:00:00.000Z"]}}}'
        ),
        nothing=b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","3"]}}}',
        action_output=b'{"output":1}',
        error_body=(
            b'{"group":"user","code":"username_too_short","message":"too short","metadata":{"mi'
            b'n":3}}'
        ),
        duplicate=(
            b'{"group":"actor","code":"duplicate_key","message":"Actor already exists with name'
            b" 'counter' and key '[\\\"k-json\\\"]' (https://www.rivet.dev/docs/clients/javas"
            b'cript)"}'
        ),
        queue=b'{"status":"completed"}',
        queue_with_response=b'{"status":"completed","response":{"ok":{"a":1}}}',
    ),
    Server(
        version="2.3.19",
        encoding="bare",
        dialect=Dialect.COMPAT,
        init=(
            b"\x04\x00\x00\x1ex0mmz5cvd2z7vj9q59z7gqf31ybl00$301d41b9-5cf2-4530-b09b-4dfa74fae30b"
        ),
        init_ids=("x0mmz5cvd2z7vj9q59z7gqf31ybl00", "301d41b9-5cf2-4530-b09b-4dfa74fae30b"),
        event=b"\x04\x00\x03\x08newCount\x02\x81\x03",
        event_args=[3],
        error=(
            b"\x04\x00\x01\x04user\x12username_too_short\ttoo short\x01\x06\xa1cmin\x03\x01\x01"
            b"\x01\x1ex0mmz5cvd2z7vj9q59z7gqf31ybl00\x01\x01\x06k-bare"
        ),
        error_actor=("x0mmz5cvd2z7vj9q59z7gqf31ybl00", 1, "k-bare"),
        response=b"\x04\x00\x02\x00\x01\x03",
        response_output=3,
        values=(
            b"\x04\x00\x02\x02\x84\x01\x90\x01 \xfb?\xf8\x00\x00\x00\x00\x00\x00ax\xf6\x82j$Und"
            b"efined\x00\xf5\x82\x01b$a\x82c$$x\x01\xb9\x00\x01aa\xb9\x00\x01ab\x80\xfbC@\x00"
            b"\x00\x00\x00\x00\x00\xfbBp\x00\x00\x00\x00\x00\x00\xfb\xc2p\x00\x00\x00\x00\x00"
            b"\x00\x82g$BigIntt12345678901234567890\x82k$Uint8ArraydAQID\xc1\x1a\x00\x01Q\x80"
        ),
        nothing=b"\x04\x00\x02\x03\r\x82j$Undefined\x00",
        action_output=b"\x04\x00\x01\x01",
        error_body=(
            b"\x04\x00\x04user\x12username_too_short\ttoo short\x01\x06\xa1cmin\x03\x01\x1ex0mm"
            b"z5cvd2z7vj9q59z7gqf31ybl00\x01\x01\x06k-bare"
        ),
        duplicate=(
            b'{"group":"actor","code":"duplicate_key","message":"Actor key \'k-bare\' already i'
            b'n use for actor \'x0mmz5cvd2z7vj9q59z7gqf31ybl00\'","metadata":{"existing_actor_i'
            b'd":"x0mmz5cvd2z7vj9q59z7gqf31ybl00","key":"k-bare"}}'
        ),
        queue=b"\x04\x00\tcompleted\x00",
        queue_with_response=b"\x04\x00\tcompleted\x01\x0c\xb9\x00\x01bok\xb9\x00\x01aa\x01",
    ),
    Server(
        version="2.3.19",
        encoding="cbor",
        dialect=Dialect.COMPAT,
        init=(
            b"\xa1dbody\xa2ctagdInitcval\xa2gactorIdx\x1e9qlgwvd5czn0118kti1gz617rral00lconnect"
            b"ionIdx$b91e3cce-bd71-4ec5-b3db-fd6ab78c951a"
        ),
        init_ids=("9qlgwvd5czn0118kti1gz617rral00", "b91e3cce-bd71-4ec5-b3db-fd6ab78c951a"),
        event=b"\xa1dbody\xa2ctageEventcval\xa2dnamehnewCountdargs\x81\x03",
        event_args=[3],
        error=(
            b"\xa1dbody\xa2ctageErrorcval\xa6egroupduserdcoderusername_too_shortgmessageitoo sh"
            b"orthmetadata\xa1cmin\x03eactor\xa3gactorIdx\x1e9qlgwvd5czn0118kti1gz617rral00jgen"
            b"eration\x1b\x00\x00\x00\x00\x00\x00\x00\x01ckeyfk-cborhactionId\x1b\x00\x00\x00"
            b"\x00\x00\x00\x00\x01"
        ),
        error_actor=("9qlgwvd5czn0118kti1gz617rral00", 1, "k-cbor"),
        response=(
            b"\xa1dbody\xa2ctagnActionResponsecval\xa2bid\x1b\x00\x00\x00\x00\x00\x00\x00\x00fo"
            b"utput\x03"
        ),
        response_output=3,
        values=None,
        nothing=(
            b"\xa1dbody\xa2ctagnActionResponsecval\xa2bid\x1b\x00\x00\x00\x00\x00\x00\x00\x03fo"
            b"utput\x82j$Undefined\x00"
        ),
        action_output=b"\xa1foutput\x01",
        error_body=(
            b"\xa5eactor\xa3gactorIdx\x1e9qlgwvd5czn0118kti1gz617rral00jgeneration\x01ckeyfk-cb"
            b"ordcoderusername_too_shortegroupdusergmessageitoo shorthmetadata\xa1cmin\x03"
        ),
        duplicate=(
            b'{"group":"actor","code":"duplicate_key","message":"Actor key \'k-cbor\' already i'
            b'n use for actor \'9qlgwvd5czn0118kti1gz617rral00\'","metadata":{"existing_actor_i'
            b'd":"9qlgwvd5czn0118kti1gz617rral00","key":"k-cbor"}}'
        ),
        queue=b"\xa1fstatusicompleted",
        queue_with_response=b"\xa2hresponse\xa1bok\xa1aa\x01fstatusicompleted",
    ),
    Server(
        version="2.3.19",
        encoding="json",
        dialect=Dialect.COMPAT,
        init=(
            b'{"body":{"tag":"Init","val":{"actorId":"xcf9f49hr9y8dkifpggtp6tgyycl00","connecti'
            b'onId":"890145de-ec5e-4287-bca2-ec833c31ea79"}}}'
        ),
        init_ids=("xcf9f49hr9y8dkifpggtp6tgyycl00", "890145de-ec5e-4287-bca2-ec833c31ea79"),
        event=b'{"body":{"tag":"Event","val":{"args":[3],"name":"newCount"}}}',
        event_args=[3],
        error=(
            b'{"body":{"tag":"Error","val":{"actionId":["$BigInt","1"],"actor":{"actorId":"xcf9'
            b'f49hr9y8dkifpggtp6tgyycl00","generation":1,"key":"k-json"},"code":"username_too_s'
            b'hort","group":"user","message":"too short","metadata":{"min":3}}}}'
        ),
        error_actor=("xcf9f49hr9y8dkifpggtp6tgyycl00", 1, "k-json"),
        response=b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","0"],"output":3}}}',
        response_output=3,
        values=(
            b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","2"],"output":[1,-1,1.5,"x'
            b'",null,null,true,[1,"$a"],["$$x",1],{"a":{"b":[]}},["$BigInt","9007199254740992"]'
            b',["$BigInt","1099511627776"],["$BigInt","-1099511627776"],["$BigInt","12345678901'
            b'234567890"],["$Uint8Array","AQID"],"1970-01-02T00:00:00.000Z"]}}}'
        ),
        nothing=(
            b'{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","3"],"output":["$Undefined'
            b'",0]}}}'
        ),
        action_output=b'{"output":1}',
        error_body=(
            b'{"actor":{"actorId":"xcf9f49hr9y8dkifpggtp6tgyycl00","generation":1,"key":"k-json'
            b'"},"code":"username_too_short","group":"user","message":"too short","metadata":{"'
            b'min":3}}'
        ),
        duplicate=(
            b'{"group":"actor","code":"duplicate_key","message":"Actor key \'k-json\' already i'
            b'n use for actor \'xcf9f49hr9y8dkifpggtp6tgyycl00\'","metadata":{"existing_actor_i'
            b'd":"xcf9f49hr9y8dkifpggtp6tgyycl00","key":"k-json"}}'
        ),
        queue=b'{"status":"completed"}',
        queue_with_response=b'{"response":{"ok":{"a":1}},"status":"completed"}',
    ),
]
