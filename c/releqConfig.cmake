# find_package(releq) gives the targets releq::releq (shared) and releq::static.
get_filename_component(_releq_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET releq::releq)
    add_library(releq::releq SHARED IMPORTED)
    set_target_properties(releq::releq PROPERTIES
        IMPORTED_LOCATION "${_releq_prefix}/lib/libreleq.so.0"
        IMPORTED_SONAME "libreleq.so.0"
        INTERFACE_INCLUDE_DIRECTORIES "${_releq_prefix}/include")
    find_package(Threads REQUIRED)
    add_library(releq::static STATIC IMPORTED)
    set_target_properties(releq::static PROPERTIES
        IMPORTED_LOCATION "${_releq_prefix}/lib/libreleq.a"
        INTERFACE_INCLUDE_DIRECTORIES "${_releq_prefix}/include"
        INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m")
endif()
unset(_releq_prefix)
